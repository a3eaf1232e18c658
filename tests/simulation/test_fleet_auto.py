"""``startupVariant: Auto`` over two simulated days: what the first one taught is in force on the second."""

from typing import Any

import pytest

from tests.simulation.fleet_builders import scenario
from turbospec.simulation.fleet import judge
from turbospec.simulation.fleet.arms import arm_named
from turbospec.simulation.fleet.files import FleetScenario, MetricName
from turbospec.simulation.fleet.pods import Pod
from turbospec.simulation.fleet.run import FleetSimulation, Scaling

COSTLY, CHEAP = (1.4, [0.3, 0.2, 0.1]), (1.05, [0.8, 0.75, 0.7])
"""Speed-up without the drafter, and acceptance."""
SCALING = Scaling(MetricName.WANTED_PODS, 0.8)


def day(engine: tuple[float, list[float]]) -> FleetScenario:
    """Half an hour with a crowd in the middle, whose pods go again before its end."""
    load: dict[str, Any] = {"promptTokens": 200, "outputTokens": 700, "acceptance": engine[1]}
    few, many = ({**load, "seconds": seconds, "requestsPerSecond": rate} for seconds, rate in ((700, 6), (400, 24)))
    return scenario(
        {"plain": {"speedup": engine[0], "kvCacheTokens": 110_000}},
        load=[few, many, few],
        startup={"pendingSeconds": 5, "startingSeconds": 35, "warmingSeconds": 20},
        autoscaler={
            "initialReplicas": 2,
            "minReplicas": 1,
            "maxReplicas": 12,
            "target": 20,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
    )


def pods_of(given: FleetScenario, arm: str) -> list[Pod]:
    """All pods of the day."""
    simulation = FleetSimulation(given, judge.prepared(arm, given, SCALING, 1), SCALING, 1)
    simulation.run()
    return simulation.created


@pytest.mark.parametrize(("engine", "plain"), [(COSTLY, True), (CHEAP, False)], ids=["a costly drafter", "easy text"])
def test_pods_of_the_second_day_start_as_the_first_one_taught(
    engine: tuple[float, list[float]], *, plain: bool
) -> None:
    assert {pod.plain for pod in pods_of(day(engine), "auto")} == {plain}


def test_nobody_changes_how_pods_start_unasked() -> None:
    assert {pod.plain for pod in pods_of(day(COSTLY), "turbospec")} == {False}


def test_a_fleet_that_starts_plain_is_as_good_as_a_plain_one() -> None:
    """Also for its signal, which nobody's acceptance goes into any more."""
    given = day(COSTLY)
    auto, plain = (judge.run(given, arm, SCALING.metric, SCALING.target, seed=1) for arm in ("auto", "plain"))
    assert auto.replica_seconds == pytest.approx(plain.replica_seconds, rel=0.02)
    assert auto.mean_draft_tokens == 0.0
    left = judge.run(given, "turbospec", SCALING.metric, SCALING.target, seed=1)
    assert left.replica_seconds > 1.1 * auto.replica_seconds


def test_pods_of_both_kinds_serve_side_by_side() -> None:
    """Each as what it is: a plain pod never drafts, and its signal counts what it can do."""
    given = day(COSTLY)
    arm = arm_named("auto", given, 1)
    simulation = FleetSimulation(given, arm, SCALING, 1)
    mixed = 0
    while simulation.advance():
        ready = [pod for pod in simulation.pods if pod.slot in simulation.serving.replicas]
        if len({pod.plain for pod in ready}) == 2:
            mixed += 1
            for pod in ready:
                replica = simulation.serving.replicas[pod.slot]
                assert (replica.spec.plain is None) is pod.plain
                assert not (pod.plain and any(replica.draft_tokens))
    assert mixed > 60
    assert simulation.requests_there == 0
