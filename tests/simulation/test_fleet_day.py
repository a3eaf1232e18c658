"""Days of small fleets: what comes is served, what is there is paid for, and pods come and go as Kubernetes has it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.simulation.fleet_builders import Fixed, scenario
from turbospec.simulation.fleet import arms
from turbospec.simulation.fleet.arms import arm_named
from turbospec.simulation.fleet.balancer import Balancer
from turbospec.simulation.fleet.files import FleetScenario, MetricName, StartupSpec
from turbospec.simulation.fleet.loops import LoopBrain
from turbospec.simulation.fleet.pods import Phase, Pod, victims
from turbospec.simulation.fleet.replica import Load
from turbospec.simulation.fleet.results import FleetRun
from turbospec.simulation.fleet.run import FleetSimulation, Scaling
from turbospec.simulation.fleet.serving import MACRO_SECONDS

UP_AND_DOWN = [5, 40, 40, 5, 5]


def busy(**changes: Any) -> FleetScenario:
    """Ten minutes up and down; pods start in a minute, the autoscaler takes back after one."""
    load = {
        "seconds": 600,
        "requestsPerSecond": UP_AND_DOWN,
        "promptTokens": 200,
        "outputTokens": 150,
        "lengthSpread": 0.5,
        "acceptance": [0.7, 0.6, 0.5],
        "acceptanceSpread": 0.1,
    }
    fields: dict[str, Any] = {
        "engine": {"plain": {"speedup": 1.1, "kvCacheTokens": 120_000}},
        "startup": {"pendingSeconds": 5, "startingSeconds": 35, "warmingSeconds": 20},
        "terminationGraceSeconds": 1,
        "autoscaler": {
            "initialReplicas": 2,
            "maxReplicas": 10,
            "target": 20,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "warmUpSeconds": 60,
        "load": [load],
    }
    return scenario(**(fields | changes))


def simulation(given: FleetScenario, arm: str, metric: str, target: float, seed: int = 0) -> FleetSimulation:
    return FleetSimulation(given, arm_named(arm, given, seed), Scaling(MetricName(metric), target), seed)


class Audit(FleetSimulation):
    """Counts the requests after every macro step, and the pods."""

    pod_seconds = 0.0
    phases: set[Phase]

    def _serve(self, now: float) -> None:
        super()._serve(now)
        done = int(np.isfinite(self.serving.finished).sum())
        assert self.arrived == done + self.requests_there
        running = sum(replica.running for replica in self.serving.replicas.values())
        assert running == len(self.serving.generated()[0])
        if 0.0 <= now < self.arm.day.end:
            self.pod_seconds += MACRO_SECONDS * len(self.pods)
        self.phases = getattr(self, "phases", set()) | {pod.phase(now) for pod in self.pods}


@pytest.mark.parametrize(
    ("arm", "metric", "target"),
    [("plain", "runningRequests", 20.0), ("static:3", "tokenBacklog", 2000.0), ("turbospec", "offeredLoadRatio", 0.7)],
)
def test_every_arrival_is_completed_queued_or_running(arm: str, metric: str, target: float) -> None:
    """At every macro step, while pods come and are killed with requests in them; in the end all are completed. The
    seconds that pods were seen add up to those that are paid for."""
    given = busy()
    audit = Audit(given, arm_named(arm, given, 0), Scaling(MetricName(metric), target))
    found = audit.run()
    assert found.completed == found.requests > 10_000
    assert audit.phases == set(Phase)
    assert audit.pod_seconds == pytest.approx(found.replica_seconds, rel=0.01)
    assert found.scale_events >= 2


def test_a_run_repeats_itself_and_arms_meet_the_same_requests() -> None:
    """Same seed, same day."""
    given = busy()
    one, two = (simulation(given, "static:1", "runningRequests", 20.0).run() for _ in range(2))
    assert _figures(one) == _figures(two)
    other = simulation(given, "plain", "runningRequests", 20.0).run()
    assert np.array_equal(one.arrivals, other.arrivals)
    assert not np.array_equal(one.arrivals, simulation(given, "plain", "runningRequests", 20.0, 1).run().arrivals)


def test_higher_targets_mean_fewer_replicas_and_more_misses() -> None:
    """What tuning relies on."""
    given = busy()
    targets = (("runningRequests", 8.0, 60.0), ("offeredLoadRatio", 0.4, 1.6))
    for metric, low, high in targets:
        few, many = (simulation(given, "static:1", metric, target).run() for target in (high, low))
        assert few.replica_seconds < many.replica_seconds, metric
        assert few.missed >= many.missed, metric


@pytest.mark.parametrize("metric", list(MetricName))
def test_every_metric_scales_up_under_load(metric: MetricName) -> None:
    """From two replicas at a target that two cannot hold, and without an error in the other phases of the day."""
    targets = {
        MetricName.RUNNING_REQUESTS: 10.0,
        MetricName.INTER_TOKEN_LATENCY: 7.0,
        MetricName.KV_CACHE_USAGE: 0.03,
        MetricName.TOKEN_BACKLOG: 1000.0,
        MetricName.OFFERED_LOAD_RATIO: 0.4,
        MetricName.EXPECTED_PODS: 0.4,
        MetricName.WANTED_PODS: 0.4,
    }
    audit = simulation(busy(), "off", metric, targets[metric])
    audit.keep_moments = True
    found = audit.run()
    assert max(moment.ready for moment in found.moments) > 2


@pytest.mark.parametrize("name", ["turbospec", "loop"])
def test_the_fleet_loop_has_documents_in_force_before_pods_are_ready(name: str, monkeypatch: Any) -> None:
    """A pod that joins a fleet begins with its profile and with what the others have learnt of the text; alone it does
    not."""
    first: dict[LoopBrain, float | None] = {}

    class Watched(LoopBrain):
        def decide(self, load: Load) -> Sequence[int]:
            if self not in first:
                first[self] = self.estimates()[0].acceptance if self.loop.bias() is not None else None
            return super().decide(load)

    monkeypatch.setattr(arms, "LoopBrain", Watched)
    simulation(busy(), name, "runningRequests", 20.0).run()
    later = list(first.values())[2:]
    assert later
    if name == "turbospec":
        assert all(acceptance == pytest.approx(0.7, abs=0.06) for acceptance in later)
    else:
        assert all(acceptance is None for acceptance in later)


def test_an_oracle_fleet_holds_the_objective_with_fewer_replicas_than_an_autoscaler() -> None:
    """Pods are Ready when they are needed."""
    given = busy()
    oracle = simulation(given, "oracle", "runningRequests", 0.6).run()
    rival = simulation(given, "static:3", "runningRequests", 12.0).run()
    assert oracle.miss_share < 0.01
    assert oracle.replica_seconds < rival.replica_seconds


def test_the_best_k_without_foresight_is_between_a_fixed_k_and_an_oracle_fleet() -> None:
    """Its pods are the oracle's, its replicas the autoscaler's, by a load that nobody had to learn."""
    given = busy()
    found = {arm: simulation(given, arm, "expectedPods", 0.8).run() for arm in ("best-k", "static:3")}
    oracle = simulation(given, "oracle", "expectedPods", 0.8).run()
    assert found["best-k"].scale_events > 0
    assert found["best-k"].replica_seconds <= found["static:3"].replica_seconds
    assert found["best-k"].replica_seconds > oracle.replica_seconds


def test_the_best_k_runs_without_the_drafter_where_an_oracle_does() -> None:
    given = busy(engine={"plain": {"speedup": 3.0}})
    assert simulation(given, "best-k", "expectedPods", 0.8).run().mean_draft_tokens == 0.0


def pod(number: int, created: float, *, terminated: bool = False) -> Pod:
    return Pod(number, number, created, StartupSpec(), 0.0 if terminated else None)


VICTIMS: list[tuple[str, list[Pod], list[int]]] = [
    ("pending before starting before ready", [pod(0, 0), pod(1, 990), pod(2, 900)], [1, 2, 0]),
    ("the younger of two ready ones", [pod(0, 0), pod(1, 780)], [1, 0]),
    ("those that end already are no choice", [pod(0, 0), pod(1, 990, terminated=True)], [0]),
]


@pytest.mark.parametrize(("there", "order"), [row[1:] for row in VICTIMS], ids=[row[0] for row in VICTIMS])
def test_a_scale_down_takes_pods_in_the_order_of_a_replicaset(there: list[Pod], order: list[int]) -> None:
    """Seen at 1000 s; pods take 180 s to be Ready."""
    assert [one.number for one in victims(there, 3, 1000.0)] == order


def test_ready_times_count_by_powers_of_two() -> None:
    """Of pods Ready for much the same time the youngest is not always the first (LogarithmicScaleDown)."""
    there = [pod(number, float(number)) for number in range(30)]
    assert [one.number for one in victims(there, 30, 10_000.0)] != list(range(30))[::-1]


def test_a_pod_that_ends_gets_no_requests_and_hands_over_what_it_does_not_finish() -> None:
    """After the grace period its requests begin again elsewhere, and are completed."""
    given = busy(terminationGraceSeconds=0)
    audit = simulation(given, "off", "runningRequests", 20.0)
    stop, lost = audit.serving.stop, []

    def watched(slot: int) -> list[int]:
        found = stop(slot)
        lost.extend(found)
        return found

    audit.serving.stop = watched  # type: ignore[method-assign]
    found = audit.run()
    assert lost
    assert np.isfinite(audit.serving.finished[lost]).all()
    assert found.completed == found.requests


@pytest.mark.parametrize("kind", ["LeastRequests", "RoundRobin"])
def test_balancers_spread_evenly(kind: Any) -> None:
    """Least requests looks at what is there, round robin does not."""
    given = busy()
    arm = arm_named("off", given, 0)
    audit = FleetSimulation(given, arm, Scaling(MetricName.RUNNING_REQUESTS, 20.0))
    replicas = [audit.serving.start(slot, Fixed(0), 0.0) for slot in range(4)]
    replicas[0].waiting.extend(range(6))
    Balancer(kind).spread(deque(range(6, 18)), replicas)
    there = [len(replica.waiting) for replica in replicas]
    assert there == ([6, 4, 4, 4] if kind == "LeastRequests" else [9, 3, 3, 3])


def _figures(found: FleetRun) -> dict[str, Any]:
    return replace(found).as_json()
