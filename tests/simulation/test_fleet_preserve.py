"""Whoever scales on a metric that speculation moves, and keeps doing so, pays for no more pods than before."""

from typing import Any

from tests.simulation.fleet_builders import LINEAR, scenario
from turbospec.simulation.fleet.arms import arm_named
from turbospec.simulation.fleet.files import FleetScenario, MetricName
from turbospec.simulation.fleet.results import FleetRun
from turbospec.simulation.fleet.run import FleetSimulation, Scaling

MOST = 1.01
"""Replica-hours, over those of the same engines at K = 0."""


def day() -> FleetScenario:
    """Ten minutes up and down, on engines where drafts pay while few requests run."""
    load = {
        "seconds": 600,
        "requestsPerSecond": [8, 30, 30, 8],
        "promptTokens": 100,
        "outputTokens": 150,
        "lengthSpread": 0.5,
        "acceptance": [0.8, 0.7, 0.7],
    }
    fields: dict[str, Any] = {
        "engine": {
            "maxNumSeqs": 32,
            "kvCacheTokens": 20_000,
            "stepTime": {"linear": LINEAR | {"secondsPerBatchedToken": 8e-5}},
        },
        "startup": {"pendingSeconds": 5, "startingSeconds": 35, "warmingSeconds": 20},
        "autoscaler": {
            "initialReplicas": 2,
            "minReplicas": 1,
            "maxReplicas": 8,
            "target": 20,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "warmUpSeconds": 60,
        "load": [load],
    }
    return scenario(**fields)


def run(arm: str, metric: MetricName, target: float) -> FleetRun:
    given = day()
    return FleetSimulation(given, arm_named(arm, given, 1), Scaling(metric, target), 1).run()


def test_preserved_inter_token_latency_buys_no_replicas() -> None:
    """Drafts of three that nobody bounds: twice as many, for the same requests."""
    before, kept, left = (run(arm, MetricName.INTER_TOKEN_LATENCY, 10.0) for arm in ("off", "preserve", "static:3"))
    assert kept.replica_seconds <= MOST * before.replica_seconds
    assert kept.missed <= before.missed
    assert left.replica_seconds > 2.0 * before.replica_seconds


def test_preserved_cache_usage_keeps_what_speculation_saves() -> None:
    before, kept = (run(arm, MetricName.KV_CACHE_USAGE, 0.15) for arm in ("off", "preserve"))
    assert kept.replica_seconds < before.replica_seconds
    assert kept.mean_draft_tokens > 2.0
