"""What is expected at this time of day: as it became on the days before, and nothing where no day tells."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.builders import NOW, conditions, policy, profile, snapshot
from tests.fleet.test_load import observed, signal
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.demand import RATE_AGE_SECONDS
from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.forecast import AROUND_SECONDS, DAY_SECONDS, DAYS, KEPT_SECONDS, MOST_FACTOR, factor, factors
from turbospec.fleet.prometheus_answers import DemandHistory, Samples

STEP = 300.0
PLACE = ("team", "deployment/chat")
AHEAD = policy(horizon_seconds=300.0)


def samples(value: Callable[[float], float], days: float = DAYS, end: float = NOW) -> Samples:
    """Every five minutes of so many days, by seconds from ``end``."""
    count = int(days * DAY_SECONDS / STEP)
    times = tuple(end - STEP * (count - i) for i in range(count + 1))
    return times, tuple(value(at - end) for at in times)


def history(found: Samples, **changes: Any) -> DemandHistory:
    values: dict[str, Any] = {"series": {PLACE: found}, "reason": "HistoryUsed", "message": "", "seconds": NOW}
    return DemandHistory(**(values | changes))


def rising(seconds: float) -> float:
    """Every day alike, and a third more within half an hour from now on."""
    phase = seconds % DAY_SECONDS
    return 300.0 + 100.0 * min(phase / 1800.0, 1.0) if phase < DAY_SECONDS / 2 else 300.0


@settings(max_examples=50, deadline=None)
@given(
    shift=st.floats(0.0, DAY_SECONDS),
    ahead=st.sampled_from([300.0, 900.0, 3600.0]),
    level=st.floats(1.0, 1e4),
    today=st.floats(0.1, 10.0),
)
def test_days_that_are_alike_are_forecast_exactly(shift: float, ahead: float, level: float, today: float) -> None:
    """A law: whatever the shape, the level, and how much busier today is as a whole."""

    def shape(seconds: float) -> float:
        return level * (2.0 + math.sin(2.0 * math.pi * (seconds + shift) / DAY_SECONDS))

    found = factor(samples(shape), NOW, ahead)
    assert found is not None
    assert today * shape(0.0) * found == pytest.approx(today * shape(ahead), rel=0.005)


@pytest.mark.parametrize("days", [0.0, 0.5, 1.0 - (AROUND_SECONDS + STEP) / DAY_SECONDS])
def test_less_than_a_day_says_nothing(days: float) -> None:
    assert factor(samples(rising, days), NOW, 300.0) is None


def test_a_day_that_was_off_does_not_matter_and_nothing_more_than_doubles() -> None:
    def odd(seconds: float) -> float:
        return 10_000.0 if -3 * DAY_SECONDS < seconds - 600 < -3 * DAY_SECONDS + 600 else rising(seconds)

    assert factor(samples(odd), NOW, 900.0) == factor(samples(rising), NOW, 900.0)
    up = samples(lambda seconds: 900.0 if seconds % DAY_SECONDS < DAY_SECONDS / 2 else 100.0)
    down = samples(lambda seconds: 100.0 if seconds % DAY_SECONDS < DAY_SECONDS / 2 else 900.0)
    assert factor(up, NOW - 1800.0, 3600.0) == MOST_FACTOR
    assert factor(down, NOW - 1800.0, 3600.0) == 1 / MOST_FACTOR
    night = samples(lambda seconds: 100.0 if seconds % DAY_SECONDS < DAY_SECONDS / 2 else 0.0)
    assert factor(night, NOW - 1800.0, 3600.0) is None


def test_a_hole_in_the_history_is_no_load_of_nought() -> None:
    times, values = samples(rising)
    kept = [(at, value) for at, value in zip(times, values, strict=True) if not -2.5 < (at - NOW) / DAY_SECONDS < -1.5]
    holed = tuple(at for at, _ in kept), tuple(value for _, value in kept)
    assert factor(holed, NOW, 900.0) == pytest.approx(factor(samples(rising), NOW, 900.0))
    assert factor(((), ()), NOW, 900.0) is None


def test_it_takes_the_place_of_the_slope_in_what_is_expected() -> None:
    """Arrivals that are steady so far: they had no slope, and history knows that they are about to rise."""
    wanted = factor(samples(rising), NOW + 60, 300.0 + RATE_AGE_SECONDS)
    assert wanted is not None
    assert wanted > 1.03
    steady = signal(observed(60))
    found = signal(observed(60, fleet={"policies": (AHEAD,), "history": history(samples(rising))}))
    assert steady.expected_ratio == pytest.approx(steady.ratio)
    assert found.ratio == steady.ratio
    assert found.expected_ratio == pytest.approx(wanted * found.ratio)


@pytest.mark.parametrize(
    ("wanted", "known"),
    [
        (policy(), history(samples(rising))),
        (AHEAD, None),
        (AHEAD, history(samples(rising), series={("team", "deployment/code"): samples(rising)})),
        (AHEAD, history(samples(rising), seconds=NOW - KEPT_SECONDS - 1)),
        (AHEAD, history(samples(rising, days=0.5))),
    ],
)
def test_where_nothing_is_known_the_slope_stays(wanted: Any, known: DemandHistory | None) -> None:
    assert factors(wanted, known, [PLACE], NOW) == {}


def said(known: DemandHistory | None, **changes: Any) -> ConditionValue:
    shown = snapshot(policies=(replace(AHEAD, **changes),), profiles=(profile(),), history=known)
    return conditions(decide(shown, FleetMemory())[0])["HistoryKnown"]


@pytest.mark.parametrize(
    ("known", "status", "reason"),
    [
        (history(samples(rising)), "True", "HistoryUsed"),
        (history(samples(rising), reason="PrometheusSlow"), "True", "HistoryUsed"),
        (None, "Unknown", "HistoryPending"),
        (history(samples(rising, days=0.5)), "Unknown", "HistoryTooShort"),
        (history(samples(rising), series={}), "Unknown", "HistoryTooShort"),
        (history(samples(rising), series={}, reason="PrometheusUnreachable"), "False", "PrometheusUnreachable"),
        (history(samples(rising), series={}, reason="PrometheusNotConfigured"), "False", "PrometheusNotConfigured"),
    ],
)
def test_the_condition_says_what_the_expectation_rests_on(
    known: DemandHistory | None, status: str, reason: str
) -> None:
    """History that was read an hour ago is as good, whatever became of Prometheus."""
    found = said(known)
    assert (found.status, found.reason) == (status, reason)
    assert (status == "True") is not ("the slope of the last minutes is taken" in found.message)


def test_nothing_is_said_without_a_horizon() -> None:
    shown = snapshot(profiles=(profile(),), history=history(samples(rising)))
    assert "HistoryKnown" not in conditions(decide(shown, FleetMemory())[0])
