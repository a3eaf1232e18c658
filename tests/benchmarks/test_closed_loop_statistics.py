"""Ratios, bounds and the mix of the closed-loop benchmark."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engine.closed_loop_schedule import ARMS, LOOP
from benchmarks.engine.closed_loop_statistics import (
    Measured,
    Raw,
    adjusted,
    compare_mix,
    compare_point,
    plain,
    prefill_seconds,
    ratio_bound,
)

POSITIVE = st.floats(0.1, 1e4)


def rows(point: str, loop: list[float], **others: list[float]) -> list[Measured]:
    """Windows of a point; arms that are not named deliver 10 tokens/s."""
    given_rounds = {LOOP.name: loop, **{name.replace("K", "K="): values for name, values in others.items()}}
    return [
        Measured(point, arm.name, number, value)
        for arm in ARMS
        for number, value in enumerate(given_rounds.get(arm.name, [10.0] * len(loop)))
    ]


def test_the_bound_is_students_t_over_the_logarithms_of_the_rounds() -> None:
    """Three rounds of ratio 1, e and 1/e: standard deviation 1, two degrees of freedom."""
    ratio, lower = ratio_bound([1.0, math.e, 1.0], [1.0, 1.0, math.e])
    assert ratio == pytest.approx(1.0)
    assert lower == pytest.approx(math.exp(-1.886 / math.sqrt(3)))


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=40), st.floats(0.1, 10))
def test_what_slows_both_arms_of_a_round_alike_changes_nothing(pairs: list[tuple[float, float]], factor: float) -> None:
    """Rounds are paired: the drift of the machine cancels. The bound is never above the ratio."""
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    slowed = [factor ** (index % 2) for index in range(len(pairs))]
    ratio, lower = ratio_bound(one, other)
    again, lower_again = ratio_bound(
        [a * f for a, f in zip(one, slowed, strict=True)], [b * f for b, f in zip(other, slowed, strict=True)]
    )
    assert lower is not None
    assert lower <= ratio * (1 + 1e-9)
    assert again == pytest.approx(ratio)
    assert lower_again == pytest.approx(lower)


def test_one_round_has_no_bound() -> None:
    """A bound that is not known is not met."""
    assert ratio_bound([2.0], [1.0]) == (2.0, None)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [([], [], "cannot be paired"), ([1.0], [1.0, 2.0], "cannot be paired"), ([0.0, 1.0], [1.0, 1.0], "single token")],
)
def test_what_cannot_be_compared_is_refused(one: list[float], other: list[float], why: str) -> None:
    """A server that delivered nothing is a failure, no ratio."""
    with pytest.raises(ValueError, match=why):
        ratio_bound(one, other)


def test_the_best_fixed_length_of_a_point_is_the_one_with_the_highest_mean() -> None:
    """The loop itself never is."""
    found = compare_point(rows("a", [100.0, 100.0], K1=[40.0, 60.0], K3=[55.0, 35.0]))
    assert (found.best, found.goodput["K=1"]) == ("K=1", 50.0)
    assert found.ratio == pytest.approx(math.sqrt(100 / 40 * 100 / 60))


def test_on_the_mix_every_point_has_the_same_time_and_one_length_must_serve_all() -> None:
    """K=1 is best at the one point, K=3 at the other; the mix is the mean of their tokens per second."""
    one = rows("one", [30.0, 30.0], K1=[30.0, 30.0], K3=[12.0, 12.0])
    other = rows("other", [50.0, 50.0], K1=[20.0, 20.0], K3=[50.0, 50.0])
    found = compare_mix([*one, *other])
    assert found.best == "K=3"
    assert found.goodput[LOOP.name] == 40.0
    assert found.goodput["K=3"] == 31.0
    assert found.ratio == pytest.approx(40 / 31)
    assert found.lower == pytest.approx(40 / 31)


def test_a_missing_window_is_named() -> None:
    """A run that was broken off gives no figures that look whole."""
    whole = [*rows("one", [30.0, 30.0]), *rows("other", [30.0, 30.0])]
    with pytest.raises(ValueError, match="K=3, round 1: 1 of 2 points"):
        compare_mix([row for row in whole if (row.point, row.arm, row.round) != ("one", "K=3", 1)])
    with pytest.raises(ValueError, match="not every round was measured of K=3"):
        compare_point([row for row in rows("one", [30.0, 30.0]) if (row.arm, row.round) != ("K=3", 1)])


def windows(arm: str, per_token: float, prompts: list[int], seconds_per_prompt_token: float = 0.002) -> list[Raw]:
    """Windows of 100 tokens at the point, with these prompt tokens read in them."""
    return [
        Raw("p", arm, number, 100, read, 100 * per_token + seconds_per_prompt_token * read)
        for number, read in enumerate(prompts)
    ]


def test_prompts_that_happen_to_be_read_in_a_window_are_taken_out_of_the_comparison() -> None:
    """Both arms take 10 ms a token; the one read more prompts in its windows than the other."""
    raw = [*windows("one", 0.01, [0, 300]), *windows("other", 0.01, [100, 0])]
    assert prefill_seconds(raw) == pytest.approx(0.002)
    assert len({row.goodput for row in plain(raw)}) > 2
    assert [row.goodput for row in adjusted(raw)] == pytest.approx([100 / (1 + 0.002 * 100)] * 4)


def test_what_an_arm_is_faster_by_stays() -> None:
    """The slope is that within arms: a fast arm that read more prompts, having answered more, keeps its lead."""
    raw = [*windows("fast", 0.01, [200, 300, 250]), *windows("slow", 0.02, [100, 150, 50])]
    found = {row.arm: row.goodput for row in adjusted(raw)}
    usual = 1050 / 600
    assert found["fast"] == pytest.approx(1 / (0.01 + 0.002 * usual))
    assert found["slow"] == pytest.approx(1 / (0.02 + 0.002 * usual))


def test_without_any_prompts_goodput_is_as_counted() -> None:
    """Nothing to take out; a window without tokens is refused."""
    raw = [*windows("one", 0.01, [0, 0]), *windows("other", 0.02, [0, 0])]
    assert adjusted(raw) == plain(raw)
    with pytest.raises(ValueError, match="single token"):
        adjusted([*raw, Raw("p", "one", 2, 0, 0, 3.5)])
