"""Pods start as the fleet loop has decided: its rounds, its status on a real API server, and the webhook's answer."""

import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.reason_cases_variants import plain_engine
from tests.operator.reason_fleet import Fleet
from tests.operator.recorded_windows import Clock
from tests.operator.test_crash_loop import RUNTIME, request_for
from tests.support.apiserver import ApiServer
from tests.webhook.test_injection import patched
from turbospec.fleet import startup_variant
from turbospec_operator import observe, served_cells
from turbospec_operator.admission import Admission
from turbospec_operator.cluster import EVENTS, Cluster, Raw
from turbospec_operator.names import ANNOTATION_STARTUP_VARIANT

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

ROUND = 55.0
"""Less than what may be missed without losing count of requests."""
NEXT: Raw = {
    "metadata": {"name": "next", "labels": {"app": "chat", "turbospec.io/inject": "true"}},
    "spec": {"containers": [{"name": "vllm", "image": "vllm/vllm-openai:v1", "args": ["--model", "m"]}]},
}
OWNER = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat", "uid": "00000000", "controller": True}
REPLICA: dict[str, Any] = {"ownerReferences": [OWNER]}
FASTER = {
    "cells": [
        {"batch": batch, "contextTokens": context, "microseconds": 3500 + 14 * batch, "samples": 10}
        for batch in (1, 2, 4, 8, 16)
        for context in (256, 1024)
    ],
    "kvCacheTokens": 120_000,
    "startSeconds": 20,
}
"""An engine without its drafter: its steps take 0.7 of the time."""


async def rounds(fleet: Fleet, engine: EngineStandIn, count: int, acceptance: float) -> None:
    """Of traffic that is accepted so well."""
    for _ in range(count):
        served = engine.more.get("requests", {}).get("arrived", 0) + 20
        requests = {"arrived": served, "admitted": served, "finished": served}
        tokens = {"promptTokens": 200 * served, "prefillTokens": 200 * served, "outputTokens": 100 * served}
        estimate = {"acceptance": acceptance, "draftYield": 1.0, "samples": 500.0}
        engine.more = {"requests": requests | tokens, "acceptance": [estimate] * 5}
        await fleet.rounds(1, seconds=ROUND)


async def started_as(cluster: Cluster, namespace: str) -> str:
    """What a pod that is created now starts as, by a webhook that has just started itself."""
    fresh = {**NEXT, "metadata": {**NEXT["metadata"], **REPLICA}}
    outcome = await Admission(cluster, b"").decide(request_for(fresh, namespace), RUNTIME)
    assert outcome.injected, outcome.refusal
    return str(patched(fresh, outcome)["metadata"]["annotations"][ANNOTATION_STARTUP_VARIANT])


async def row(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """What the policy's status says of its one scale target."""
    (found,) = (await shop.policy_status(cluster, namespace))["startupVariants"]
    return dict(found)


async def test_the_webhook_starts_pods_as_the_fleet_loop_has_decided(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the drafter at first, plain once that has been worth it for long enough, and back; a pod that lives for some
    seconds has shown how long that is."""
    clock = Clock(time.time())
    for module in (observe, served_cells):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(startup_variant, "LEAST_SECONDS", 4 * ROUND)
    async with AsyncExitStack() as stack:
        fleet = Fleet(api_with_crds, cluster, namespace, clock, stack)
        await fleet.profile(plain=FASTER)
        engine = await fleet.engine("chat-1", **REPLICA)
        await plain_engine(fleet, "chat-2", **REPLICA)
        await fleet.policy(autoscaling={"startupVariant": "Auto"})
        assert await started_as(cluster, namespace) == "Speculative"
        await rounds(fleet, engine, 1, acceptance=0.02)
        api_with_crds.kubectl("delete", "pod", "chat-2", "-n", namespace, "--wait=false")
        await rounds(fleet, engine, 2, acceptance=0.02)
        waiting = await row(cluster, namespace)
        assert (waiting["variant"], waiting["reason"]) == ("Speculative", "Waiting"), waiting
        await rounds(fleet, engine, 4, acceptance=0.02)
        plain = await row(cluster, namespace)
        assert (plain["variant"], plain["reason"]) == ("Plain", "Recommended"), plain
        assert await started_as(cluster, namespace) == "Plain"
        await rounds(fleet, engine, 5, acceptance=0.95)
        assert (await row(cluster, namespace))["variant"] == "Speculative"
        assert await started_as(cluster, namespace) == "Speculative"
    said = [each["reason"] for each in await cluster.list(EVENTS, namespace)]
    assert [said.count(reason) for reason in ("StartsPlain", "StartsSpeculative")] == [1, 1]
