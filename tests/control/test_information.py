"""What knowing another draft length better is worth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.information import Outlook, expected_gain, options

KS = (0, 1, 3)


def view(
    acceptance: float,
    *,
    current: int,
    spread: float = 0.05,
    timing: float = 0.01,
    unseen: float = 0.0,
    deep: float = 0.0,
    seconds: tuple[float, ...] = (0.010, 0.012, 0.016),
) -> Outlook:
    known = tuple(PositionEstimate(acceptance, 1.0, 100.0, spread) for _ in range(3))
    spreads = [0.0 if i == current else timing for i in range(3)]
    return Outlook(KS, current, seconds, spreads, known, unseen, deep)


def gains(made: Outlook) -> dict[int, float]:
    return {option.draft_tokens: option.gain for option in options(made)}


@given(st.floats(-3, 3), st.floats(0, 2))
def test_the_expected_gain_is_at_least_the_mean_and_never_negative(mean: float, deviation: float) -> None:
    """E[max(0, x)] is above max(0, E[x]), and grows with what is not known."""
    gain = expected_gain(mean, deviation)
    assert math.isfinite(gain)
    assert gain >= max(0.0, mean) - 1e-3 * deviation
    assert expected_gain(mean, deviation + 0.1) >= gain - 1e-9


def test_at_zero_the_chance_of_a_new_text_grows_with_the_age_of_the_evidence() -> None:
    """Unpredictable text just seen is not looked at; a minute later it may be another."""
    ages = [gains(view(0.05, current=0, unseen=age))[1] for age in (0.0, 1.0, 10.0, 100.0)]
    assert ages == sorted(ages)
    assert ages[0] < 1e-6
    assert ages[-1] > 0.1


def test_beyond_the_crossover_no_text_is_worth_a_look() -> None:
    """Where drafts could not pay at any acceptance."""
    dear = view(0.05, current=0, unseen=1e4, seconds=(0.01, 0.05, 0.2))
    assert gains(dear)[1] == 0.0


def test_step_times_that_are_not_known_are_worth_a_look_at_smaller_draft_lengths_too() -> None:
    """K = 0 may be faster than it is taken for, once the engine has changed."""
    sure = gains(view(0.6, current=1, timing=0.001))
    unsure = gains(view(0.6, current=1, timing=0.3))
    assert sure[0] < 1e-6
    assert unsure[0] > 0.01
    assert next(o for o in options(view(0.6, current=1, timing=0.3)) if o.draft_tokens == 0).uncertain_seconds


def test_deep_positions_may_change_unseen() -> None:
    """At K = 1 nothing is seen of positions 2 and 3."""
    shallow = (PositionEstimate(0.9, 1.0, 500.0, 0.02), *(PositionEstimate(0.05, 1.0, 500.0, 0.02),) * 2)
    seen = Outlook(KS, 1, (0.010, 0.0105, 0.011), (0.01, 0.0, 0.01), shallow, 0.0, 0.0)
    unseen = Outlook(KS, 1, (0.010, 0.0105, 0.011), (0.01, 0.0, 0.01), shallow, 0.0, 300.0)
    assert gains(seen)[3] < 0.005
    assert gains(unseen)[3] > 0.05


def test_the_cost_is_what_a_step_loses_against_the_present_draft_length() -> None:
    """Its time less the time in which the present K delivers the same tokens."""
    found = {option.draft_tokens: option for option in options(view(0.5, current=0))}
    assert found[1].cost_seconds == pytest.approx(0.0)
    found = {option.draft_tokens: option for option in options(view(0.1, current=0))}
    assert found[1].cost_seconds == pytest.approx(0.012 - 1.1 * 0.010)


def test_unknown_acceptance_costs_a_whole_draft_and_is_worth_trying() -> None:
    """Nothing is known yet."""
    unknown = Outlook(
        KS, 0, (0.010, 0.012, 0.016), (0.0, 0.01, 0.01), (PositionEstimate(None, None, 0.0),) * 3, None, None
    )
    first, *others = options(unknown)
    assert first.draft_tokens == 1
    assert first.gain > 0.1
    assert first.cost_seconds == pytest.approx(0.002)
    assert all(option.gain == 0.0 for option in others)
