"""Pods that have just come, or are about to go, are left out of what is concluded from engines."""

from dataclasses import replace

import pytest

from tests.fleet.builders import NOW, pod, policy, report, snapshot
from tests.fleet.serving_builders import cells, written
from tests.fleet.test_drift import GOOD, SLOW, Operator, fleet
from tests.fleet.test_load import expected, near, observed, signal
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.drift import SETTLED_SECONDS
from turbospec.fleet.effects import WriteServedProfile
from turbospec.fleet.scaling import WARM_SECONDS
from turbospec.fleet.snapshot import PodView, ProfileSource


def test_step_times_of_the_first_minute_are_no_drift() -> None:
    """Caches fill and graphs are touched for the first time; after that minute the same times are drift."""
    warming = fleet(SLOW, SLOW)
    warming = replace(warming, pods=tuple(replace(one, ready_since_seconds=NOW) for one in warming.pods))
    operator = Operator()
    with pytest.raises(KeyError):
        operator.watch(warming, WARM_SECONDS - 4.0)
    assert operator.watch(warming, SETTLED_SECONDS + 4.0).reason == "ProfileDrifted"


def test_a_pod_that_warms_up_is_no_outlier() -> None:
    shown = fleet(GOOD, GOOD, SLOW)
    young = replace(shown.pods[2], ready_since_seconds=NOW)
    operator = Operator()
    operator.watch(replace(shown, pods=(*shown.pods[:2], young)), WARM_SECONDS - 4.0)
    assert operator.pod_events() == []
    operator.watch(replace(shown, pods=(*shown.pods[:2], young)), SETTLED_SECONDS + 4.0)
    assert [one.reason for one in operator.pod_events()] == ["OutlierStepTimes"]


@pytest.mark.parametrize(
    ("changes", "tells"),
    [
        ({}, True),
        ({"ready_since_seconds": NOW - WARM_SECONDS}, True),
        ({"ready_since_seconds": NOW - WARM_SECONDS + 1.0}, False),
        ({"ready": False}, False),
        ({"terminating": True}, False),
    ],
    ids=["serving", "warm", "warming up", "not Ready", "draining"],
)
def test_profiles_grow_from_pods_that_serve(changes: dict[str, object], *, tells: bool) -> None:
    assert bool(grown_from(replace(pod(cells=cells()), **changes))) is tells  # type: ignore[arg-type]


def grown_from(view: PodView) -> list[WriteServedProfile]:
    shown = snapshot(policies=(policy(profile_source=ProfileSource.SERVING),), pods=(view,))
    return written(decide(shown, FleetMemory())[0])


def test_what_a_pod_is_asked_before_it_is_ready_is_nobodys_text() -> None:
    """Nor does it say what pods can deliver: acceptance of warm-up prompts is not in the load."""

    def warmed_up(view: PodView, number: int) -> PodView:
        said = replace(view.report or report(), acceptance=(1.0,) * 7)
        return replace(view, ready=False, report=said) if number else view

    assert near(signal(observed(60, change=warmed_up)), expected(4.0, pods=1))
