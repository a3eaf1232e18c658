"""The HorizontalPodAutoscaler's arithmetic, against what Kubernetes documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.simulation.fleet.hpa import Autoscaler, Bounds, Form, ObservedPod, Policy, Reading, Rules, proposal

FREE = Rules(0.0, (Policy("Percent", 1000, 15),))


def pods(ready: int, pending: int = 0, silent: int = 0, terminating: int = 0) -> list[ObservedPod]:
    """``silent`` pods run and are not Ready."""
    return (
        [ObservedPod(f"ready-{i}") for i in range(ready)]
        + [ObservedPod(f"pending-{i}", pending=True, ready=False) for i in range(pending)]
        + [ObservedPod(f"silent-{i}", ready=False) for i in range(silent)]
        + [ObservedPod(f"ending-{i}", terminating=True) for i in range(terminating)]
    )


def of_pods(value: float, ready: int, target: float = 100.0) -> Reading:
    return Reading(Form.PODS, target, by_pod={f"ready-{i}": value for i in range(ready)})


PROPOSALS: list[tuple[str, Reading, list[ObservedPod], int]] = [
    # The documentation's own: 200m against 100m doubles, 50m against 100m halves.
    ("twice the target doubles", of_pods(200, 4), pods(4), 8),
    ("half the target halves", of_pods(50, 4), pods(4), 2),
    ("a fraction is rounded up", of_pods(120, 4), pods(4), 5),
    ("within a tenth nothing happens", of_pods(109, 4), pods(4), 4),
    ("exactly a tenth is within", of_pods(110, 4), pods(4), 4),
    ("within a tenth below too", of_pods(91, 4), pods(4), 4),
    ("pods that end count for nothing", of_pods(200, 4), pods(4, terminating=3), 8),
    ("pending pods count as nothing on the way up", of_pods(200, 2), pods(2, pending=1), 4),
    ("enough of them stop it", of_pods(200, 2), pods(2, pending=2), 4),
    ("more of them do not turn it round", of_pods(150, 2), pods(2, pending=2), 4),
    ("pending pods do not matter on the way down", of_pods(50, 4), pods(4, pending=2), 2),
    ("missing metrics count as the target on the way down", of_pods(20, 3), pods(3, silent=1), 2),
    ("missing metrics count as nothing on the way up", of_pods(300, 2), pods(2, silent=2), 6),
    ("Value scales what is Ready", Reading(Form.VALUE, 0.8, 1.6), pods(3), 6),
    ("Value leaves starting pods out", Reading(Form.VALUE, 0.8, 1.6), pods(3, silent=2), 6),
    ("Value within a tenth keeps what is there", Reading(Form.VALUE, 0.8, 0.85), pods(3, silent=2), 5),
    ("AverageValue shares the whole", Reading(Form.AVERAGE_VALUE, 10.0, 95.0), pods(5), 10),
    ("AverageValue counts starting pods", Reading(Form.AVERAGE_VALUE, 10.0, 48.0), pods(3, silent=2), 5),
    ("no load asks for none", Reading(Form.AVERAGE_VALUE, 10.0, 0.0), pods(5), 0),
]


@pytest.mark.parametrize(("reading", "there", "wanted"), [row[1:] for row in PROPOSALS], ids=[r[0] for r in PROPOSALS])
def test_a_metric_asks_for_what_the_documentation_says(reading: Reading, there: list[ObservedPod], wanted: int) -> None:
    """ceil(replicas * metric / target), the tolerance, and the rules for pods without metrics."""
    replicas = sum(not pod.terminating for pod in there)
    assert proposal(reading, replicas, there) == wanted


@given(st.integers(1, 9), st.integers(-8, 8))
def test_of_whole_pods_the_tolerance_swallows_none_below_ten_replicas(replicas: int, more: int) -> None:
    """What ``keda-whole-pods.yaml`` counts on."""
    wanted = max(0, replicas + more)
    assert proposal(Reading(Form.AVERAGE_VALUE, 1.0, float(wanted)), replicas, pods(replicas)) == wanted


@pytest.mark.parametrize(
    "reading",
    [Reading(Form.VALUE, 1.0), Reading(Form.AVERAGE_VALUE, 1.0, float("nan")), Reading(Form.PODS, 1.0)],
)
def test_a_missing_metric_asks_for_nothing(reading: Reading) -> None:
    """None, NaN, and no pod with a metric."""
    assert proposal(reading, 3, pods(3)) is None
    assert Autoscaler(Bounds(1, 10)).decide(0.0, 3, pods(3), [reading]) == 3


def value(ratio: float) -> list[Reading]:
    return [Reading(Form.VALUE, 1.0, ratio)]


def test_the_largest_of_several_metrics_wins_and_a_missing_one_forbids_scaling_down() -> None:
    """As documented for multiple metrics."""
    up, down, gone = value(2.0), value(0.5), [Reading(Form.VALUE, 1.0)]
    bounds = Bounds(1, 10, FREE, FREE)
    assert Autoscaler(bounds).decide(0.0, 4, pods(4), [*up, *down]) == 8
    assert Autoscaler(bounds).decide(0.0, 4, pods(4), [*down, *gone]) == 4
    assert Autoscaler(bounds).decide(0.0, 4, pods(4), [*up, *gone]) == 8


def test_scaling_down_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    """The default stabilisation window: the last high recommendation holds for 300 s."""
    hpa = Autoscaler(Bounds(1, 20))
    assert hpa.decide(0.0, 4, pods(4), value(1.0)) == 4
    replicas = [hpa.decide(15.0 * i, 4, pods(4), value(0.25)) for i in range(1, 21)]
    assert replicas[:19] == [4] * 19
    assert replicas[19] == 1


def test_scaling_up_is_at_most_four_pods_or_a_doubling_within_fifteen_seconds() -> None:
    """The default policies, the larger of the two."""
    assert Autoscaler(Bounds(1, 100)).decide(0.0, 1, pods(1), value(50.0)) == 5
    assert Autoscaler(Bounds(1, 100)).decide(0.0, 10, pods(10), value(50.0)) == 20
    assert Autoscaler(Bounds(1, 15)).decide(0.0, 10, pods(10), value(50.0)) == 15


POLICIES: list[tuple[str, Rules, int]] = [
    ("ten percent, rounded as Kubernetes does", Rules(0.0, (Policy("Percent", 10, 60),)), 9),
    ("two pods", Rules(0.0, (Policy("Pods", 2, 60),)), 8),
    ("the larger change", Rules(0.0, (Policy("Pods", 2, 60), Policy("Percent", 50, 60))), 5),
    ("the smaller change", Rules(0.0, (Policy("Pods", 2, 60), Policy("Percent", 50, 60)), "Min"), 8),
    ("disabled", Rules(0.0, (Policy("Pods", 2, 60),), "Disabled"), 10),
]


@pytest.mark.parametrize(("rules", "wanted"), [row[1:] for row in POLICIES], ids=[row[0] for row in POLICIES])
def test_policies_bound_the_way_down(rules: Rules, wanted: int) -> None:
    """From ten replicas that want to be one."""
    assert Autoscaler(Bounds(1, 20, down=rules)).decide(0.0, 10, pods(10), value(0.1)) == wanted


def test_a_policy_counts_the_changes_of_its_period() -> None:
    """Two pods a minute, and no more until the minute is over."""
    hpa = Autoscaler(Bounds(1, 20, down=Rules(0.0, (Policy("Pods", 2, 60),))))
    seen, replicas = [], 10
    for i in range(6):
        replicas = hpa.decide(15.0 * i, replicas, pods(replicas), value(0.1))
        seen.append(replicas)
    assert seen == [8, 8, 8, 8, 6, 6]


@given(
    st.integers(1, 40), st.integers(1, 40), st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30), st.integers(1, 40)
)
def test_replicas_stay_within_their_bounds(least: int, more: int, ratios: list[float], start: int) -> None:
    """Whatever the metric says."""
    hpa, replicas = Autoscaler(Bounds(least, least + more)), start
    for i, ratio in enumerate(ratios):
        replicas = hpa.decide(15.0 * i, replicas, pods(replicas), value(ratio))
        assert least <= replicas <= least + more
