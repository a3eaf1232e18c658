"""From an AdmissionReview to its answer. No pod is ever turned away: what cannot be injected is allowed unchanged."""

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from turbospec.fleet import breaker
from turbospec.fleet.matching import govern
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator import runtime_bundle, views
from turbospec_operator.cluster import CONFIG_MAPS, POLICIES, ApiError, Cluster, ExistsError, Raw
from turbospec_operator.injection import Outcome, Runtime, inject
from turbospec_operator.startup import AS_EVER, Startup, startup_of
from turbospec_operator.tokens import new_nonce

MAX_WARNING = 240
"""API servers cut warnings off at 256 characters."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Governing:
    """The policy that will govern a pod, if any, the templates that its crash-loop breaker has stopped, and why, and
    how the pod shall start."""

    spec: SpeculationPolicySpec | None = None
    stopped: Mapping[str, str] = field(default_factory=dict)
    startup: Startup = AS_EVER


class Admission:
    """Decides on pods. ``runtime_zip`` is what the injected pods of every namespace must find there."""

    def __init__(self, cluster: Cluster, runtime_zip: bytes) -> None:
        self._cluster = cluster
        self._zip = runtime_zip
        self._scouts: dict[tuple[str, str], float] = {}
        """Leaves for a scout that were used, by policy and scale target."""

    async def decide(self, request: Mapping[str, Any], runtime: Runtime) -> Outcome:
        """What to do with the pod of an admission request. Raises ApiError where policies cannot be read."""
        pod, namespace = request.get("object") or {}, str(request.get("namespace") or "")
        if (request.get("kind") or {}).get("kind") != "Pod" or request.get("operation") != "CREATE":
            return Outcome()
        found = governing_policy(await self._cluster.list(POLICIES, namespace), pod, namespace)
        startup = self._scouting(found.startup)
        outcome = inject(pod, namespace, found.spec, runtime, new_nonce(), stopped=found.stopped, startup=startup)
        if startup is not found.startup and startup.scout and outcome.injected and not request.get("dryRun"):
            self._scouts[startup.scout[:2]] = startup.scout[2]
        if outcome.injected and not request.get("dryRun"):
            await self._ensure_runtime(namespace)
        name = pod["metadata"].get("name") or pod["metadata"].get("generateName")
        if outcome.injected:
            log.info("pod %s/%s gets runtime %s", namespace, name, runtime.hash)
        elif outcome.refusal:
            log.info("pod %s/%s is not injected: %s", namespace, name, outcome.refusal)
        return outcome

    def _scouting(self, startup: Startup) -> Startup:
        """The same, but with the drafter where one pod has leave for that: one for each leave, in this process."""
        scout = startup.scout
        if not startup.plain or scout is None or self._scouts.get(scout[:2]) == scout[2]:
            return startup
        return replace(startup, plain=False, why=f"a scout among plain pods, to learn acceptance: {startup.why}")

    async def _ensure_runtime(self, namespace: str) -> None:
        """The first pods of a namespace come before the operator has seen their policy: they must not go without."""
        try:
            await self._cluster.create(CONFIG_MAPS, namespace, runtime_bundle.config_map_manifest(namespace, self._zip))
        except ExistsError:
            pass
        except ApiError as error:
            # The mount is optional and the operator tries as well: the pod starts in any case.
            log.warning("runtime ConfigMap: %s", error)


def governing_policy(policies: Sequence[Raw], pod: Raw, namespace: str) -> Governing:
    """The policy that will govern this pod, by the very rule of the fleet loop."""
    named = {"name": "", "uid": "", **pod["metadata"], "namespace": namespace}
    view = views.pod_view({**pod, "metadata": named}, None, None)
    found = {policy["metadata"]["uid"]: views.policy_view(policy) for policy in policies}
    governed = govern(found.values(), [view]).pods
    for policy in policies:
        uid = policy["metadata"]["uid"]
        spec = views.policy_spec(policy)
        if governed.get(uid) and not isinstance(spec, str):
            stopped = {stop.template: stop.message for stop in breaker.in_force(found[uid])}
            return Governing(spec, stopped, startup_of(found[uid], view))
    return Governing()


def answer(uid: str, outcome: Outcome) -> Raw:
    """The AdmissionReview that carries an outcome; always allowed."""
    response: Raw = {"uid": uid, "allowed": True}
    if outcome.patch:
        patch = json.dumps(outcome.patch).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    said = {"not injected": outcome.refusal, "proposed, not added": outcome.proposed}
    warnings = [f"turbospec: {what}: {text}"[:MAX_WARNING] for what, text in said.items() if text]
    if warnings:
        response["warnings"] = warnings
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
