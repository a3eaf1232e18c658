"""One word for what is happening to the replicas, from what the controller writes and what pods do."""

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import NOW, jobs, pod, snapshot
from tests.fleet.scaling_builders import ABLE, ACTIVE, OURS, STABILIZED, WITHIN, hpa, metric
from turbospec.fleet.autoscalers import AutoscalerCondition, AutoscalerView, ScaleRule
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.scale_events import ScaleEvent, ScaleState, classify
from turbospec.fleet.scaling import scale_targets
from turbospec.fleet.settling import SETTLE_SECONDS
from turbospec.fleet.snapshot import PodView

NO_METRIC = AutoscalerCondition("ScalingActive", "False", "FailedGetExternalMetric", "no metrics returned")
DISABLED = AutoscalerCondition("ScalingActive", "False", "ScalingDisabled", "replica count is zero")
NO_SCALE = AutoscalerCondition("AbleToScale", "False", "FailedGetScale", "the target was deleted")
TOO_MANY = AutoscalerCondition("ScalingLimited", "True", "TooManyReplicas", "more than the maximum")

UP, COMING, HELD = ScaleState.UP_IMMINENT, ScaleState.UP_UNDER_WAY, ScaleState.HELD_DOWN
DOWN, STEADY, UNKNOWN = ScaleState.DOWN_UNDER_WAY, ScaleState.STEADY, ScaleState.UNKNOWN

SERVING = (pod("chat-0"), pod("chat-1"))
STARTING = pod("chat-2", ready=False, created_seconds=NOW - 60)
NODELESS = replace(
    pod("chat-4", ready=False, report=None, created_seconds=NOW - 60),
    node=None,
    no_node="0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available.",
)
LEAVING = pod("chat-3", terminating=True, report=None)


def event(scalers: list[AutoscalerView], pods: tuple[PodView, ...] = SERVING) -> ScaleEvent:
    (target,) = scale_targets(pods, scalers, NOW).values()
    return classify(target, NOW)


@pytest.mark.parametrize(
    ("changes", "state", "reason", "replicas"),
    [
        ({}, STEADY, "MetricAtTarget", 2),
        ({"metrics": (metric(0.86),)}, STEADY, "MetricAtTarget", 2),
        ({"metrics": (metric(0.86),), "up": ScaleRule(0, tolerance=0.05)}, UP, "MetricAboveTarget", 3),
        ({"metrics": (metric(1.2),), "up": ScaleRule(0, tolerance=0.6)}, STEADY, "MetricAtTarget", 2),
        ({"metrics": (metric(1.2),), "up": ScaleRule(0, "Disabled")}, STEADY, "ScaleUpDisabled", 2),
        ({"metrics": (metric(1.2),)}, UP, "MetricAboveTarget", 3),
        ({"metrics": (metric(8.0),)}, UP, "MetricAboveTarget", 10),
        ({"metrics": (OURS, metric(1.2, form="AverageValue"))}, UP, "MetricAboveTarget", 3),
        ({"metrics": (metric(1.2),), "max_replicas": 2, "conditions": (ABLE, ACTIVE, TOO_MANY)}, STEADY,
         "AtMaxReplicas", 2),
        ({"desired": 4}, COMING, "MoreDesired", 4),
        ({"desired": 1}, DOWN, "FewerDesired", 1),
        ({"metrics": (metric(0.2),), "conditions": (STABILIZED, ACTIVE, WITHIN)}, HELD, "ScaleDownStabilized", 2),
        ({"conditions": (replace(STABILIZED, reason="ScaleUpStabilized"), ACTIVE)}, UP, "ScaleUpStabilized", None),
        ({"min_replicas": 2, "max_replicas": 2, "metrics": (metric(5.0),)}, STEADY, "FixedReplicas", 2),
        ({"current": 0, "desired": 0, "conditions": (ABLE, DISABLED)}, STEADY, "ScalingDisabled", 0),
        ({"conditions": (ABLE, NO_METRIC)}, UNKNOWN, "FailedGetExternalMetric", None),
        ({"desired": 0, "conditions": (ABLE, NO_METRIC)}, UNKNOWN, "FailedGetExternalMetric", None),
        ({"conditions": (NO_SCALE,)}, UNKNOWN, "FailedGetScale", None),
        ({"current": None, "desired": None, "conditions": ()}, UNKNOWN, "NoStatus", None),
        ({"metrics": ()}, UNKNOWN, "MetricMissing", None),
        ({"metrics": (metric(None),)}, UNKNOWN, "MetricMissing", None),
        ({"metrics": (metric(math.nan),)}, UNKNOWN, "MetricMissing", None),
        ({"metrics": (metric(-1.0),)}, UNKNOWN, "MetricMissing", None),
        ({"metrics": (metric(1.0, target=0.0),)}, UNKNOWN, "MetricMissing", None),
        ({"metrics": (OURS, metric(None))}, UNKNOWN, "MetricMissing", None),
        ({"metrics": (metric(1.2), metric(None))}, UP, "MetricAboveTarget", 3),
    ],
)  # fmt: skip
def test_an_autoscalers_status_is_one_word(
    changes: dict[str, Any], state: ScaleState, reason: str, replicas: int | None
) -> None:
    found = event([hpa(**changes)])
    assert (found.state, found.reason, found.replicas) == (state, reason, replicas)
    assert "chat has" in found.evidence or reason == "NoStatus"


def test_no_hpa_is_not_no_autoscaler_and_two_are_none_to_rely_on() -> None:
    assert (event([]).state, event([]).reason) == (UNKNOWN, "NoHorizontalPodAutoscaler")
    knative = (pod(labels=(("serving.knative.dev/revision", "chat-1"),)),)
    assert (event([], knative).state, event([], knative).reason) == (UNKNOWN, "AutoscalerUnrecognised")
    both = event([hpa(), hpa("other", desired=5)])
    assert (both.state, both.reason) == (UNKNOWN, "SeveralAutoscalers")


@pytest.mark.parametrize("scalers", [[], [hpa()], [hpa(conditions=(ABLE, NO_METRIC))]])
def test_pods_that_come_or_go_speak_whatever_the_autoscaler_says(scalers: list[AutoscalerView]) -> None:
    """Somebody may have scaled by hand, or by a system that nobody here knows."""
    assert event(scalers, (*SERVING, STARTING)).state is COMING
    assert event(scalers, (*SERVING, LEAVING)).state is DOWN
    replaced = event(scalers, (*SERVING, STARTING, LEAVING))
    assert (replaced.state, replaced.reason) == (COMING, "PodsReplaced")


@pytest.mark.parametrize(("coming", "reason", "words"), [
    ((STARTING,), "PodsStarting", "1 pods start beside 2."),
    ((STARTING, NODELESS), "PodsStarting", "2 pods start beside 2. 1 of them have no node yet: 0/3 nodes are"),
    ((NODELESS,), "NodesAwaited", "no node yet: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
    ((NODELESS, LEAVING), "PodsReplaced", "no node yet"),
])  # fmt: skip
def test_pods_without_a_node_are_told_from_pods_that_start(
    coming: tuple[PodView, ...], reason: str, words: str
) -> None:
    """A node that must be bought first takes minutes more than an image or weights do."""
    found = event([hpa()], (*SERVING, *coming))
    assert (found.state, found.reason) == (COMING, reason)
    assert words in found.evidence


def test_a_pod_that_never_becomes_ready_is_not_for_ever_on_its_way() -> None:
    stuck = replace(STARTING, created_seconds=NOW - SETTLE_SECONDS)
    hanging = replace(LEAVING, changed_seconds=NOW - SETTLE_SECONDS)
    assert event([hpa()], (*SERVING, stuck, hanging)).state is STEADY


def test_both_say_the_same_and_the_autoscaler_knows_how_many() -> None:
    found = event([hpa(desired=5)], (*SERVING, STARTING))
    assert (found.state, found.replicas) == (COMING, 5)
    assert "wants 5" in found.evidence
    assert "1 pods start" in found.evidence


def ramp(*rows: tuple[dict[str, Any], tuple[PodView, ...]]) -> list[ScaleState]:
    """The words for a sequence of statuses, repeats left out."""
    states = [event([hpa(**changes)], pods).state for changes, pods in rows]
    return [state for i, state in enumerate(states) if i == 0 or states[i - 1] is not state]


def test_a_ramp_up_as_the_controller_writes_it() -> None:
    """SuccessfulRescale shows desired first; current follows at the next sync, pods take minutes more."""
    rescaled = replace(
        ABLE, reason="SucceededRescale", message="the HPA controller was able to update the target scale"
    )
    assert ramp(
        ({"metrics": (metric(0.82),)}, SERVING),
        ({"metrics": (metric(1.21),), "desired": 2}, SERVING),
        ({"metrics": (metric(1.21),), "desired": 3, "conditions": (rescaled, ACTIVE, WITHIN)}, SERVING),
        ({"metrics": (metric(1.21),), "current": 3, "desired": 3}, (*SERVING, STARTING)),
        ({"metrics": (metric(0.81),), "current": 3, "desired": 3}, (*SERVING, pod("chat-2"))),
    ) == [STEADY, UP, COMING, STEADY]


def test_a_ramp_down_as_the_controller_writes_it() -> None:
    """Five minutes of ScaleDownStabilized, then fewer are wanted, then pods end."""
    three = (*SERVING, pod("chat-2"))
    held = {"current": 3, "desired": 3, "metrics": (metric(0.3),), "conditions": (STABILIZED, ACTIVE, WITHIN)}
    assert ramp(
        ({"current": 3, "desired": 3, "metrics": (metric(0.78),)}, three),
        (held, three),
        (held, three),
        ({"current": 3, "desired": 2, "metrics": (metric(0.3),)}, three),
        ({"metrics": (metric(0.45),)}, (*SERVING, replace(LEAVING, name="chat-2"))),
        ({"metrics": (metric(0.45),), "conditions": (STABILIZED, ACTIVE, WITHIN)}, SERVING),
    ) == [STEADY, HELD, DOWN, HELD]


def test_a_surge_beyond_the_maximum_and_a_metric_that_fails_on_the_way() -> None:
    limited = (ABLE, ACTIVE, TOO_MANY)
    full = tuple(pod(f"chat-{i}") for i in range(4))
    late = tuple(replace(each, ready=False, created_seconds=NOW - 30) for each in full[2:])
    four = {"max_replicas": 4, "current": 4, "desired": 4}
    assert ramp(
        ({"max_replicas": 4, "desired": 4, "metrics": (metric(6.0),), "conditions": limited}, SERVING),
        ({**four, "metrics": (metric(6.0),), "conditions": limited}, (*SERVING, *late)),
        ({**four, "metrics": (metric(3.0),), "conditions": limited}, full),
        ({**four, "metrics": (metric(None),), "conditions": (ABLE, NO_METRIC, TOO_MANY)}, full),
        ({**four, "metrics": (metric(0.7),)}, full),
    ) == [COMING, STEADY, UNKNOWN, STEADY]


def test_to_zero_and_back() -> None:
    nobody: dict[str, Any] = {"min_replicas": 0, "current": 0, "desired": 0, "conditions": (ABLE, DISABLED)}
    first = pod("chat-0", ready=False, created_seconds=NOW - 5, node=None)
    assert ramp(
        ({"min_replicas": 0, "current": 1, "desired": 0, "metrics": (metric(0.0),)}, (pod("chat-0"),)),
        (nobody, (LEAVING,)),
        ({**nobody, "current": 0, "desired": 1, "conditions": (ABLE, ACTIVE)}, (first,)),
        ({"min_replicas": 0, "current": 1, "desired": 1, "metrics": (metric(0.8),)}, (pod("chat-0"),)),
    ) == [DOWN, COMING, STEADY]


@pytest.mark.parametrize(
    ("scaler", "waits"), [(hpa(), False), (hpa(metrics=(metric(1.2),)), True), (hpa(desired=3), True)]
)
def test_profiling_waits_while_replicas_are_about_to_move(scaler: AutoscalerView, waits: bool) -> None:
    """Before the first new pod is there: its node may be the one that the Job would take."""
    effects, _ = decide(snapshot(pods=SERVING, autoscalers=(scaler,)), FleetMemory())
    assert bool(jobs(effects)) is not waits
