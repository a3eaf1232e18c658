"""Carries out what the fleet loop decided. Every effect is idempotent; one that fails is decided again next round."""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from turbospec.fleet.effects import (
    CreateProfilingJob,
    Effect,
    EmitEvent,
    EnsureRuntime,
    HarvestProfile,
    PushControl,
    SetPolicyStatus,
    SetProfileStatus,
    WriteServedProfile,
)
from turbospec_operator import manifests
from turbospec_operator.cluster import (
    CONFIG_MAPS,
    EVENTS,
    POLICIES,
    PROFILES,
    ApiError,
    Cluster,
    DeniedError,
    ExistsError,
    Kind,
)
from turbospec_operator.control_documents import control_document
from turbospec_operator.engines import EngineClient, EngineError
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observation, Observer
from turbospec_operator.profiling_jobs import Installation, JobCreator, ObstacleError
from turbospec_operator.runtime_bundle import build_runtime_zip, config_map_manifest
from turbospec_operator.wording import one_line

log = logging.getLogger(__name__)


class EffectError(Exception):
    """An effect cannot be carried out now; the message is one line."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one effect went.

    ``denied`` names the permission that is missing. ``refusal`` is why an engine did not want a document that it has
    read, ``refused_token`` says that it did not get that far. ``obstacle`` is what kept a Job from being created;
    ``forbidden`` says that it was the want of the permission.
    """

    error: str | None = None
    denied: str | None = None
    refusal: str | None = None
    refused_token: bool = False
    obstacle: str | None = None
    forbidden: bool = False

    @property
    def unreached(self) -> bool:
        """Whether the effect must be decided again at once: it failed, and neither because an engine did not want it
        nor for something that lasts."""
        return self.error is not None and self.refusal is None and self.obstacle is None


class Applier:
    """Carries out effects, all of a round at once; a failure of one never holds up another."""

    def __init__(
        self,
        cluster: Cluster,
        engines: EngineClient,
        observer: Observer,
        metrics: Metrics,
        installation: Installation,
    ) -> None:
        self._jobs = JobCreator(cluster, installation)
        self._cluster = cluster
        self._engines = engines
        self._observer = observer
        self._metrics = metrics
        self._runtime: bytes | None = None
        self._said: dict[str, str] = {}

    async def apply(self, effects: Sequence[Effect], observation: Observation) -> tuple[Outcome, ...]:
        """Carry out a round's effects; outcomes are in their order. Raises nothing for what the cluster answers."""
        outcomes = await asyncio.gather(*(self._one(effect, observation) for effect in effects))
        for effect, outcome in zip(effects, outcomes, strict=True):
            self._metrics.effect(type(effect).__name__, "failed" if outcome.error else "done")
            self._say(describe(effect), outcome.error)
        current = {describe(effect) for effect in effects}
        self._said = {what: error for what, error in self._said.items() if what in current}
        return tuple(outcomes)

    async def _one(self, effect: Effect, observation: Observation) -> Outcome:
        try:
            await self._carry_out(effect, observation)
        except DeniedError as error:
            return Outcome(str(error), f"{error.verb} {error.resource} in {error.where}: {CONSEQUENCES[type(effect)]}")
        except EngineError as error:
            return Outcome(str(error), refusal=error.refusal, refused_token=error.status == 401)
        except ObstacleError as error:
            return Outcome(str(error), obstacle=str(error), forbidden=error.forbidden)
        except (ApiError, EffectError) as error:
            return Outcome(str(error))
        except ValidationError as error:
            return Outcome(f"cannot be written: {one_line(error)}")
        return Outcome()

    async def _carry_out(self, effect: Effect, observation: Observation) -> None:
        match effect:
            case PushControl():
                await self._push(effect, observation)
            case EnsureRuntime():
                await self._ensure_runtime(effect)
            case CreateProfilingJob():
                await self._create_job(effect, observation)
            case HarvestProfile():
                await self._harvest(effect, observation)
            case WriteServedProfile():
                await self._write_served(effect, observation)
            case SetPolicyStatus():
                await self._set_status(effect, observation)
            case SetProfileStatus():
                await self._set_profile_status(effect, observation)
            case EmitEvent():
                await self._emit(effect, observation)

    def _say(self, what: str, error: str | None) -> None:
        """One log line per change: an effect that fails every 2 s would bury everything else."""
        if error is None:
            if self._said.pop(what, None) is not None:
                log.info("%s: works again", what)
        elif self._said.get(what) != error:
            self._said[what] = error
            log.warning("%s: %s", what, error)

    async def _push(self, effect: PushControl, observation: Observation) -> None:
        endpoint = observation.endpoints.get(effect.engine.uid)
        if endpoint is None:
            raise EffectError("the engine has no address any more")
        await self._engines.put_control(endpoint, control_document(effect, observation.snapshot.epoch))

    async def _ensure_runtime(self, effect: EnsureRuntime) -> None:
        if self._runtime is None:
            self._runtime = await asyncio.to_thread(build_runtime_zip)
        # Created without looking first: reading ConfigMaps would be a permission on everybody's.
        await self._create(CONFIG_MAPS, effect.namespace, config_map_manifest(effect.namespace, self._runtime))

    async def _create_job(self, effect: CreateProfilingJob, observation: Observation) -> None:
        spec = observation.specs.get((effect.namespace, effect.policy))
        if spec is None:
            raise EffectError(f"policy {effect.policy} is gone")
        if not observation.profiles_known:
            raise EffectError("profiles cannot be listed, so whether one is missing is not known")
        await self._jobs.create(effect, spec)

    async def _harvest(self, effect: HarvestProfile, observation: Observation) -> None:
        measured = observation.results.get((effect.namespace, effect.job))
        if measured is None:
            raise EffectError(f"Job {effect.job} has left no result")
        jobs = observation.snapshot.jobs
        finished = [job.finished_seconds for job in jobs if (job.namespace, job.name) == (effect.namespace, effect.job)]
        manifest = manifests.profile(effect, measured, finished[0] if finished else None)
        made = await self._create(PROFILES, effect.namespace, manifest)
        if not made and effect.replaces:
            await self._replace_profile(effect.namespace, effect.profile, manifest)
            made = True
        if made:
            log.info("harvested Job %s/%s into profile %s", effect.namespace, effect.job, effect.profile)
        self._observer.expire()

    async def _write_served(self, effect: WriteServedProfile, observation: Observation) -> None:
        pods = observation.snapshot.pods
        found = [pod.report for pod in pods if (pod.namespace, pod.name) == (effect.namespace, effect.pod)]
        identity = found[0].identity if found and found[0] is not None else None
        if identity is None:
            raise EffectError(f"the engine of pod {effect.pod} does not say what it is")
        manifest = manifests.served_profile(effect, identity, observation.snapshot.now_seconds)
        if not await self._create(PROFILES, effect.namespace, manifest):
            await self._replace_profile(effect.namespace, effect.name, manifest)
        log.info("wrote profile %s/%s: %s", effect.namespace, effect.name, effect.coverage)
        self._observer.expire()

    async def _replace_profile(self, namespace: str, name: str, manifest: dict[str, Any]) -> None:
        old = await self._cluster.get(PROFILES, namespace, name)
        await self._cluster.replace(PROFILES, namespace, {**old, "spec": manifest["spec"]})

    async def _set_status(self, effect: SetPolicyStatus, observation: Observation) -> None:
        current = observation.statuses.get((effect.namespace, effect.name), {})
        wanted = manifests.policy_status(effect, current, observation.snapshot.now_seconds)
        self._metrics.policy_status(effect)
        patch = manifests.status_patch(wanted, current)
        if patch is None:
            return
        # The uid makes the API server refuse a patch meant for a policy that was deleted and made anew.
        body = {"metadata": {"uid": effect.uid}, **patch}
        patched = await self._cluster.patch_status(POLICIES, effect.namespace, effect.name, body)
        self._observer.remember_status(effect.namespace, effect.name, patched)

    async def _set_profile_status(self, effect: SetProfileStatus, observation: Observation) -> None:
        current = observation.profile_statuses.get((effect.namespace, effect.name), {})
        wanted = manifests.conditions(
            effect.conditions, current, effect.observed_generation, observation.snapshot.now_seconds
        )
        conditions = [each.model_dump(by_alias=True, exclude_none=True) for each in wanted]
        # The uid makes the API server refuse a patch meant for a profile that was deleted and made anew.
        body = {"metadata": {"uid": effect.uid}, "status": {"conditions": conditions}}
        await self._cluster.patch_status(PROFILES, effect.namespace, effect.name, body)
        self._observer.expire()

    async def _emit(self, effect: EmitEvent, observation: Observation) -> None:
        body = manifests.event(effect, socket.gethostname(), observation.snapshot.now_seconds)
        await self._create(EVENTS, effect.namespace, body)

    async def _create(self, kind: Kind, namespace: str, manifest: dict[str, Any]) -> bool:
        """Create, unless it is there: names are deterministic, so what has the name is the thing. True if created."""
        try:
            await self._cluster.create(kind, namespace, manifest)
        except ExistsError:
            return False
        return True


def describe(effect: Effect) -> str:
    """What an effect is about, in a few words."""
    match effect:
        case PushControl():
            return f"control document for {effect.engine.namespace}/{effect.engine.pod}"
        case EnsureRuntime():
            return f"runtime ConfigMap in {effect.namespace}"
        case CreateProfilingJob():
            return f"profiling Job {effect.namespace}/{effect.name}"
        case HarvestProfile(profile=name) | WriteServedProfile(name=name):
            return f"profile {effect.namespace}/{name}"
        case SetPolicyStatus() | SetProfileStatus():
            kind = "policy" if isinstance(effect, SetPolicyStatus) else "profile"
            return f"status of {kind} {effect.namespace}/{effect.name}"
        case EmitEvent():
            pod = effect.regarding
            return (
                f"event on {f'pod {pod.namespace}/{pod.pod}' if pod else f'policy {effect.namespace}/{effect.policy}'}"
            )


CONSEQUENCES: Mapping[type[Effect], str] = {
    PushControl: "engines get no control documents",
    EnsureRuntime: "pods start without the runtime",
    CreateProfilingJob: "nothing is profiled",
    HarvestProfile: "measured profiles are not kept",
    WriteServedProfile: "measured profiles are not kept",
    SetPolicyStatus: "policy statuses are stale",
    SetProfileStatus: "profiles do not say whether they are in use",
    EmitEvent: "no events are written",
}
"""What does not happen for want of a permission."""
