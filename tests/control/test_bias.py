"""How the model's error in level and by K is told apart."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.control.bias import LatencyBias

KS = (0, 1, 3, 7)


def feed(bias: LatencyBias, k: int, factor: float, steps: int, seed: int = 1) -> None:
    rng = random.Random(seed)  # noqa: S311  # seeded, no secret
    for step in range(steps):
        bias.observe(k, 8, 0.01 * factor * rng.gauss(1.0, 0.05), 0.01)
        if step % 20 == 19:
            bias.update()


def test_without_observation_nothing_is_off() -> None:
    """Factor one everywhere."""
    bias = LatencyBias(KS)
    bias.update()
    assert bias.factors() == dict.fromkeys(KS, 1.0)
    assert bias.common() == 1.0


def test_the_factor_of_a_visited_draft_length_is_found() -> None:
    """Within a few percent after a few hundred steps."""
    bias = LatencyBias(KS)
    feed(bias, 3, 1.3, 300)
    assert bias.factors()[3] == pytest.approx(1.3, abs=0.05)


def test_a_machine_that_slows_down_slows_every_draft_length() -> None:
    """After all K were found right, a slowdown at the K in use is shared by those not visited meanwhile."""
    bias = LatencyBias(KS)
    for k in (0, 1, 7, 3):
        feed(bias, k, 1.0, 200)
    feed(bias, 3, 1.4, 400)
    factors = bias.factors()
    assert factors[3] == pytest.approx(1.4, abs=0.05)
    for k in (0, 1, 7):
        assert factors[k] / factors[3] == pytest.approx(1.0, abs=0.12)


def test_a_jump_that_comes_with_a_change_of_draft_length_belongs_to_that_one() -> None:
    """The level was known; K = 7 alone is slower than profiled."""
    bias = LatencyBias(KS)
    feed(bias, 0, 1.0, 400)
    feed(bias, 7, 1.5, 60)
    factors = bias.factors()
    assert factors[7] == pytest.approx(1.5, abs=0.12)
    assert factors[0] == pytest.approx(1.0, abs=0.12)


def test_a_deviation_learnt_at_one_batch_is_believed_less_at_another() -> None:
    """Interpolated step times err differently elsewhere; the level stays."""
    bias = LatencyBias(KS)
    feed(bias, 0, 1.0, 400)
    feed(bias, 7, 1.5, 100)
    learnt = bias.factors()[7]
    for _ in range(20):
        bias.observe(0, 128, 0.01, 0.01)
    bias.update()
    assert 1.0 < bias.factors()[7] < 1.0 + 0.5 * (learnt - 1.0)


def test_outliers_hardly_move_it() -> None:
    """One step in ten five times too long."""
    bias = LatencyBias(KS)
    for step in range(400):
        bias.observe(1, 8, 0.05 if step % 10 == 0 else 0.01, 0.01)
        if step % 20 == 19:
            bias.update()
    assert bias.factors()[1] < 1.12


@given(st.lists(st.tuples(st.sampled_from([*KS, 5]), st.floats(1e-9, 1e9), st.floats(1e-9, 1e9)), max_size=200))
def test_factors_are_bounded_whatever_is_measured(steps: list[tuple[int, float, float]]) -> None:
    """Never beyond a factor of two, never NaN."""
    bias = LatencyBias(KS)
    for i, (k, measured, predicted) in enumerate(steps):
        bias.observe(k, 1 + i, measured, predicted)
        if i % 7 == 0:
            bias.update()
    bias.update()
    for factor in (*bias.factors().values(), bias.common()):
        assert math.isfinite(factor)
        assert 0.5 - 1e-9 <= factor <= 2.0 + 1e-9
