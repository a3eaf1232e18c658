"""Where arrivals are going, by the time a pod that is asked for now is Ready."""

import math
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.fleet.demand import RATE_AGE_SECONDS, DemandMemory, RequestCounts, demand, observe
from turbospec.fleet.trend import (
    KNOWN_SECONDS,
    LONGEST_START_SECONDS,
    MOST_CHANGE,
    REACTION_SECONDS,
    SLOPE_SECONDS,
    Trend,
    start_seconds,
)

ROUND = 2.0
START = 200.0


def after(rates: list[float], trend: Trend | None = None) -> Trend:
    """What is known when each round has had this rate, requests per second."""
    trend = trend or Trend()
    for rate in rates:
        trend = trend.observe(rate * ROUND, ROUND)
    return trend


def ramp(seconds: float, first: float, slope: float) -> list[float]:
    return [first + slope * ROUND * (i + 0.5) for i in range(int(seconds / ROUND))]


@pytest.mark.parametrize("slope", [0.01, 0.0, -0.01])
def test_a_straight_line_goes_on(slope: float) -> None:
    """Up and down alike."""
    trend = after(ramp(900.0, 30.0, slope))
    now = 30.0 + slope * 900.0
    assert trend.per_second == pytest.approx(slope, rel=1e-3, abs=1e-9)
    assert trend.ahead(now, START) == pytest.approx(now + slope * START, rel=1e-3)


@pytest.mark.parametrize("slope", [0.01, -0.01])
def test_demand_is_expected_where_a_start_leads_to(slope: float) -> None:
    """The mean rate lags behind, what is expected does not."""
    memory, came = DemandMemory(), 0.0
    for rate in ramp(900.0, 30.0, slope):
        before, came = came, came + rate * ROUND
        memory = observe(memory, RequestCounts(round(came) - round(before), 0, 0, 0, 0, 0), ROUND)
    found = demand(memory, 0.0, START)
    assert found is not None
    now = 30.0 + slope * 900.0
    assert found.requests_per_second == pytest.approx(now - slope * RATE_AGE_SECONDS, rel=0.01)
    assert found.expected_per_second == pytest.approx(now + slope * (START + REACTION_SECONDS), rel=0.02)
    assert found.expected_offered_per_second == found.expected_per_second


def test_too_little_says_nothing() -> None:
    """Before that, what comes is what has come."""
    rounds = int(KNOWN_SECONDS / ROUND)
    assert after(ramp(KNOWN_SECONDS, 5.0, 0.1)[: rounds - 1]).ahead(20.0, START) == 20.0
    assert after(ramp(KNOWN_SECONDS, 5.0, 0.1)[:rounds]).ahead(20.0, START) > 20.0


def test_a_step_is_no_line() -> None:
    """For a few minutes it looks like one, which is believed by a quarter only; then it is what it is."""
    trend, seen = after([1.0] * 600), []
    for _ in range(900):
        trend = after([20.0], trend)
        seen.append(trend.ahead(20.0, START) / 20.0)
    assert max(seen) == pytest.approx(1.0 + MOST_CHANGE)
    assert all(abs(share - 1.0) <= 0.05 for share in seen[int(5 * SLOPE_SECONDS / ROUND) :])


@pytest.mark.parametrize(
    ("starts", "seconds"),
    [
        ([], 0.0),
        ([(100.0, 310.0)], 210.0),
        ([(100.0, 310.0), (100.0, 90_000.0), (500.0, None)], 210.0),
        ([(100.0, 90_000.0)], LONGEST_START_SECONDS),
        ([(0.0, 310.0)], 0.0),
        ([(300.0, 290.0)], 0.0),
    ],
    ids=["no pod", "one", "one that wavered", "only that one", "created is not known", "clocks that differ"],
)
def test_a_start_is_what_pods_took(starts: list[tuple[float, float | None]], seconds: float) -> None:
    assert start_seconds(starts) == seconds


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(1e-3, 1e6)), max_size=50), st.floats(0.0, 1e4))
def test_every_history_gives_numbers_within_bounds(history: list[tuple[int, float]], rate: float) -> None:
    trend = Trend()
    for arrived, elapsed in history:
        trend = trend.observe(arrived, elapsed)
    assert all(math.isfinite(value) for value in astuple(trend))
    assert abs(trend.ahead(rate, START) - rate) <= MOST_CHANGE * rate * (1.0 + 1e-9)
