"""How the model's error is told apart by part of the step time and by K."""

import json
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.control.bias import LatencyBias

KS = (0, 1, 3, 7)
BATCH = 32


def components(batch: int = BATCH) -> np.ndarray:
    """Seconds of (step, tokens, kv, drafting) at every K of a single batch, shape (4, K, 1)."""
    rows = [(0.006, 4e-5 * batch * (k + 1), 0.001, 0.001 * k) for k in KS]
    return np.array(rows).T[:, :, None]


def shares(k: int, batch: int = BATCH) -> list[float]:
    column = components(batch)[:, KS.index(k), 0]
    return list(column / column.sum())


def feed(bias: LatencyBias, k: int, factor: float, steps: int, *, noise: float = 0.03, seed: int = 1) -> None:
    rng = random.Random(seed)  # noqa: S311  # seeded, no secret
    for _ in range(steps // 10):
        bias.observe(k, BATCH, shares(k), [factor * rng.gauss(1.0, noise) for _ in range(10)])


def factors(bias: LatencyBias) -> list[float]:
    """Corrected over predicted step time of every K."""
    found = bias.correct(components())[:, 0] / components().sum(axis=0)[:, 0]
    return [float(value) for value in found]


def drifted(parts: Sequence[float]) -> list[float]:
    """True over predicted step time of every K, where the parts have changed by these factors."""
    made = components()[:, :, 0]
    return [float(value) for value in (np.array(parts)[:, None] * made).sum(axis=0) / made.sum(axis=0)]


def test_without_observation_nothing_is_off() -> None:
    """Factor one everywhere."""
    bias = LatencyBias(KS)
    assert factors(bias) == pytest.approx([1.0] * 4)
    assert bias.level == 1.0
    assert not bias.off_profile


def test_the_factor_of_a_visited_draft_length_is_found() -> None:
    """Within a few percent after a few hundred steps."""
    bias = LatencyBias(KS)
    feed(bias, 3, 1.3, 300)
    assert factors(bias)[2] == pytest.approx(1.3, abs=0.03)


def test_a_doubted_profile_is_left_sooner() -> None:
    """The first blocks move it further, and what was not looked at stays less certain."""
    exact, doubted = LatencyBias(KS), LatencyBias(KS, doubt=0.2)
    for bias in (exact, doubted):
        feed(bias, 3, 1.15, 10)
    assert factors(exact)[2] < factors(doubted)[2] == pytest.approx(1.15, abs=0.03)
    assert (doubted.spreads(components()[:, :, 0]) >= exact.spreads(components()[:, :, 0]) - 1e-9).all()


def test_a_machine_that_slows_down_slows_every_draft_length() -> None:
    """After all K were found right, a slow drift at the K in use is shared by those not visited meanwhile."""
    bias = LatencyBias(KS)
    for k in KS:
        feed(bias, k, 1.0, 100)
    for step in range(100):
        feed(bias, 3, 1.0 + 0.004 * step, 20)
    found = factors(bias)
    for k in (0, 1, 3):
        assert found[k] / found[2] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("parts", [(1, 2, 1, 1), (1, 1, 1, 1.8), (1.4, 1.4, 1.4, 1.4), (1.5, 1, 1, 1)])
def test_two_draft_lengths_tell_what_has_become_dearer(parts: tuple[float, ...]) -> None:
    """Level and slope: after looking at K = 0 and 7 the K between them are known as well."""
    bias = LatencyBias(KS)
    for k in (0, 7, 0, 7):
        feed(bias, k, 1.0, 60)
    truth = drifted(parts)
    for _ in range(4):
        feed(bias, 7, truth[3], 20)
        feed(bias, 0, truth[0], 20)
    assert factors(bias) == pytest.approx(truth, rel=0.06)


def test_a_jump_leaves_the_others_uncertain_until_they_are_looked_at() -> None:
    """One K got slower: whether the others did is not known, and a look at one tells."""
    bias = LatencyBias(KS)
    for k in KS:
        feed(bias, k, 1.0, 100)
    before = float(bias.spreads(components()[:, :, 0])[3, 0])
    feed(bias, 7, 1.5, 40)
    after = float(bias.spreads(components()[:, :, 0])[3, 0])
    assert bias.jumps == 1
    assert after > 3 * before
    feed(bias, 0, 1.0, 10)
    assert float(bias.spreads(components()[:, :, 0])[3, 0]) < 0.5 * after
    assert factors(bias)[0] == pytest.approx(1.0, abs=0.05)
    assert factors(bias)[3] == pytest.approx(1.5, abs=0.06)


def test_noise_is_measured_and_believed_less() -> None:
    """The same miss moves beliefs less where steps are noisy."""
    quiet, noisy = LatencyBias(KS), LatencyBias(KS)
    feed(quiet, 3, 1.0, 300, noise=0.01)
    feed(noisy, 3, 1.0, 300, noise=0.2)
    for bias in (quiet, noisy):
        bias.observe(7, BATCH, shares(7), [1.1] * 5)
    assert factors(noisy)[3] < factors(quiet)[3]
    assert noisy.jumps == 0


def test_outliers_hardly_move_it() -> None:
    """One step in ten five times too long."""
    bias = LatencyBias(KS)
    for _ in range(40):
        bias.observe(1, 8, shares(1, 8), [5.0] + [1.0] * 9)
    assert factors(bias)[1] < 1.05


def test_beyond_a_factor_of_two_it_says_so_and_bends_no_further() -> None:
    """Then the profile is wrong, and it says so from a third on."""
    bias = LatencyBias(KS)
    feed(bias, 3, 1.2, 400)
    assert not bias.off_profile
    feed(bias, 3, 3.0, 400)
    assert bias.off_profile
    assert max(factors(bias)) <= 2.0
    assert bias.level == 2.0


blocks = st.lists(
    st.tuples(
        st.sampled_from([*KS, 5]), st.integers(1, 512), st.lists(st.floats(1e-6, 1e6), max_size=12), st.floats(0, 1)
    ),
    max_size=60,
)


def run(bias: LatencyBias, found: list[tuple[int, int, list[float], float]]) -> None:
    for k, batch, ratios, part in found:
        bias.observe(k, batch, [part, 1 - part, 0.0, 0.0], ratios)


@given(blocks)
def test_step_times_stay_within_bounds_whatever_is_measured(found: list[tuple[int, int, list[float], float]]) -> None:
    """Never beyond a factor of two, never NaN, spreads not negative."""
    bias = LatencyBias(KS)
    run(bias, found)
    for factor in (*factors(bias), bias.level):
        assert math.isfinite(factor)
        assert 0.5 - 1e-9 <= factor <= 2.0 + 1e-9
    assert (bias.spreads(components()[:, :, 0]) >= 0).all()


@given(blocks, blocks, st.booleans())
def test_save_and_restore_lose_nothing(
    before: list[tuple[int, int, list[float], float]], after: list[tuple[int, int, list[float], float]], cold: bool
) -> None:
    """What goes on from a restored filter is what would have gone on, through JSON and back."""
    bias = LatencyBias(KS, cold=cold)
    run(bias, before)
    restored = LatencyBias.restore(json.loads(json.dumps(bias.save())))
    run(bias, after)
    run(restored, after)
    assert restored.save() == bias.save()


def test_a_lone_step_between_two_blocks_does_not_hide_a_jump() -> None:
    """After a probe a block may hold a single step: it is too noisy to confirm a jump, and no reason to forget one."""
    bias = LatencyBias(KS)
    feed(bias, 3, 1.0, 1000)
    bias.observe(3, BATCH, shares(3), [1.12] * 12)
    assert bias.suspicious
    bias.observe(3, BATCH, shares(3), [1.09])
    bias.observe(3, BATCH, shares(3), [1.12] * 12)
    assert bias.jumps == 1
