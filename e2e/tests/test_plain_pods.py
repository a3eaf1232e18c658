"""Pods start with the drafter or without it, as the policy says when they are created: the webhook on a real kubelet.

Stand-ins for vLLM draft as vLLM does, by the ``--speculative-config`` that the webhook adds to their command.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from e2e.demo import stack
from e2e.demo.engines import Engine, Engines, find_engines
from e2e.demo.kube import Kube, condition, is_ready, wait_for
from e2e.demo.place import Place
from e2e.manifests.serving import Manifest, namespace
from e2e.manifests.standins import Kind, config_map, deployment, policy
from e2e.tests.conftest import Installed
from e2e.tests.watching import timed
from turbospec.wire.engine_state import EngineState
from turbospec_operator.names import ANNOTATION_SPECULATION, ANNOTATION_STARTUP_VARIANT

# the first test also waits for the cluster
pytestmark = [pytest.mark.timeout(1500)]

NAMESPACE = "plain-pods"
"""Of its own: what serves beside them is none of their policy's."""
CHAT = Kind("chat", "chat", 1, method="none")
LABELS = f"kind={CHAT.name}"
TARGET = f"deployment/{CHAT.name}"
DRAFT_TOKENS = 3
SPECULATION = {"method": "ngram", "promptLookupMax": 4, "draftTokens": [DRAFT_TOKENS]}
"""One K alone: then engines are controlled without a profile."""
SECONDS = 90.0


@dataclass(frozen=True)
class Pods:
    """The Deployment's pods and the engines in them. ``kube`` is the cluster's API."""

    kube: Kube
    place: Place
    session: aiohttp.ClientSession

    async def scale(self, replicas: int) -> Engine:
        """The engine that comes with so many replicas, once all of them are Ready."""
        before = {pod.metadata.name for pod in self.found()}
        self.kube.kubectl("scale", TARGET, "-n", NAMESPACE, f"--replicas={replicas}")
        wait_for(f"{replicas} Ready pods", lambda: sum(map(is_ready, self.found())) == replicas, SECONDS)
        (new,) = [engine for engine in self.engines().all if engine.pod not in before]
        return new

    def found(self) -> list[Any]:
        return self.kube.pods(NAMESPACE, LABELS)

    def pod(self, engine: Engine) -> Any:
        (found,) = [pod for pod in self.found() if pod.metadata.name == engine.pod]
        return found

    def engines(self, *only: Engine) -> Engines:
        found = find_engines(self.kube, NAMESPACE, LABELS, self.place.address)
        return Engines(list(only) or found, self.session)

    async def state(self, engine: Engine) -> EngineState:
        (state,) = await self.engines(engine).states()
        return state

    async def drafted(self, engine: Engine) -> int:
        """How many draft tokens it takes to answer a request."""
        before = (await self.state(engine)).counters.draft_tokens
        body = {"model": CHAT.app, "prompt": [1] * 50, "max_tokens": 40}
        async with self.session.post(f"{engine.serving_url}/v1/completions", json=body) as response:
            response.raise_for_status()
            assert (await response.json())["usage"]["completion_tokens"] == 40
        return (await self.state(engine)).counters.draft_tokens - before

    def start_as(self, variant: str) -> int:
        """Changes the policy; the generation that this makes."""
        return self.kube.patch_policy(NAMESPACE, CHAT.app, {"autoscaling": {"startupVariant": variant}})

    def says(self, kind: str, status: str, reason: str, words: str = "") -> Manifest:
        """The policy, once this condition says so of its current spec, in these words among others."""

        def said() -> bool:
            held = self.kube.policy(NAMESPACE, CHAT.app)
            found = condition(held, kind) or {}
            current = found.get("observedGeneration") == held["metadata"]["generation"]
            told = (found.get("status"), found.get("reason")) == (status, reason)
            return current and told and words in found["message"]

        wait_for(f"condition {kind} {status}, {reason}", said, SECONDS)
        return self.kube.policy(NAMESPACE, CHAT.app)


@pytest.fixture(scope="module")
def governed(installed: Installed) -> Iterator[Installed]:
    """Policy and Deployment of one pod, which drafts."""
    kube, governing = installed.kube, policy(CHAT.app, "Existing")
    governing["spec"]["speculation"] = SPECULATION
    kube.apply(namespace(NAMESPACE), _placed(config_map((CHAT,))), _placed(governing))
    try:
        stack.await_runtime(kube, NAMESPACE)
        kube.apply(_placed(deployment(CHAT, installed.image)))
        yield installed
    finally:
        # The namespace stays: in one on its way out the operator may write nothing, which the audit log would hold.
        kube.kubectl("delete", "deployment,specpol", "--all", "-n", NAMESPACE, "--wait=false")


@pytest_asyncio.fixture
async def pods(governed: Installed) -> AsyncIterator[Pods]:
    """Its pods, with a client for their engines."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), trust_env=False) as session:
        yield Pods(governed.kube, governed.place, session)


def _placed(manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": NAMESPACE}}


async def test_new_pods_start_as_the_policy_says_and_the_others_stay_as_they_are(pods: Pods) -> None:
    """With the drafter, then plain, then as Auto has it, then with the drafter again; none is taken for a fault."""
    with timed("a pod started with the drafter"):
        wait_for("a Ready pod", lambda: any(map(is_ready, pods.found())), SECONDS)
        (first,) = pods.engines().all
        pods.says("Ready", "True", "AllEnginesControlled")
        began = await _drafts(pods, first)

    with timed("a pod started plain"):
        pods.start_as("Plain")
        second = await pods.scale(2)
        await _is_plain(pods, second, "spec.autoscaling.startupVariant is Plain")
        pods.says("Controlled", "True", "Controlled", "1 of 2 pods were started plain")
        pods.says("Ready", "True", "AllEnginesControlled")
        held = pods.says("StartupVariantDecided", "True", "VariantDecided", "spec.autoscaling.startupVariant says so")
    (row,) = held["status"]["startupVariants"]
    assert (row["scaleTarget"], row["variant"], row["reason"]) == (TARGET, "Plain", "AsSpecified")
    assert (row["speculativePods"], row["plainPods"], held["status"]["pods"]) == (1, 1, 2)
    assert not held["status"].get("injectionStopped")
    assert (await _drafts(pods, first)).engine == began.engine

    with timed("a pod started plain by Auto, which keeps what is in force"):
        pods.start_as("Auto")
        pods.says("StartupVariantDecided", "True", "VariantDecided", f"{TARGET}: new pods start plain")
        third = await pods.scale(3)
        await _is_plain(pods, third, f"startupVariant Auto has chosen plain for {TARGET}")
        pods.says("Controlled", "True", "Controlled", "2 of 3 pods were started plain")

    with timed("a pod started with the drafter again"):
        generation = pods.start_as("Speculative")
        fourth = await pods.scale(4)
        assert await pods.engines(fourth).wait_for_generation(generation, SECONDS)
        await _drafts(pods, fourth)
        await _is_plain(pods, second)
        held = pods.says("Controlled", "False", "StartedPlain", f"kubectl rollout restart {TARGET}")
    assert condition(held, "StartupVariantDecided") is None
    assert (await _drafts(pods, first)).applied == began.applied
    assert [status.restart_count for pod in pods.found() for status in pod.status.container_statuses] == [0] * 4


async def _drafts(pods: Pods, engine: Engine) -> EngineState:
    """It speculates with the policy's method and K."""
    assert await pods.drafted(engine) > 0
    state = await pods.state(engine)
    assert (state.unsupported, state.identity.method, state.limits.max_draft_tokens) == (None, "ngram", DRAFT_TOKENS)
    assert {row.draft_tokens for row in state.table} == {DRAFT_TOKENS}
    return state


async def _is_plain(pods: Pods, engine: Engine, why: str = "") -> None:
    """Injected without the drafter, and it serves like that."""
    pod, state = pods.pod(engine), await pods.state(engine)
    assert pod.metadata.annotations[ANNOTATION_STARTUP_VARIANT] == "Plain"
    assert why in pod.metadata.annotations[ANNOTATION_SPECULATION]
    assert "--speculative-config" not in str(pod.spec.containers[0].args)
    assert state.unsupported is not None
    assert (state.unsupported.code, state.identity.method, state.applied) == ("NoSpeculation", "none", None)
    assert await pods.drafted(engine) == 0
