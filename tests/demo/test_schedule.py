"""The order of the demo's windows."""

from collections import Counter
from itertools import groupby, pairwise, product

import pytest

from e2e.demo.phases import ARMS, MODELS, SWITCH_SECONDS, TURBOSPEC, Phase, schedule, seconds, settle_seconds


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_tour_comes_first_and_leaves_k_to_turbospec(model: str) -> None:
    """One continuous pass through all phases, which the picture shows."""
    phases = MODELS[model].phases
    windows = schedule(phases, 3)
    tour = [window for window in windows if window.round is None]
    assert tour == windows[: len(phases)]
    assert tuple(window.phase for window in tour) == phases
    assert {window.arm for window in tour} == {TURBOSPEC}


@pytest.mark.parametrize("model", sorted(MODELS))
def test_in_every_phase_every_arm_has_one_window_in_every_round(model: str) -> None:
    """Arms take turns under clients that go on: nothing but the arm changes between the windows of a phase."""
    phases = MODELS[model].phases
    compared = [window for window in schedule(phases, 3) if window.round is not None]
    assert Counter((w.phase, w.round, w.arm) for w in compared) == Counter(product(phases, range(3), ARMS))
    assert [phase for phase, _ in groupby(window.phase for window in compared)] == list(phases)


def test_each_arm_goes_first_once_in_as_many_rounds_as_there_are_arms() -> None:
    """Slow drift of the machine favours nobody."""
    windows = [window for window in schedule(MODELS["dial"].phases, len(ARMS)) if window.round is not None]
    first = [next(w.arm.name for w in windows if w.round == number) for number in range(len(ARMS))]
    assert sorted(first) == sorted(arm.name for arm in ARMS)


def test_a_window_settles_for_its_phase_or_for_its_arm() -> None:
    """The first of a phase waits for prefill, the others for the switch; in haste all of it is shorter."""
    slow = Phase("many", 16, "code", 8.0)
    few = Phase("few", 1, "code", 3.0)
    tour, *compared = schedule((slow,), 1)
    windows = [tour, *compared]
    settled = [settle_seconds(None, tour), *(settle_seconds(*pair) for pair in pairwise(windows))]
    assert settled == [8.0, 8.0, SWITCH_SECONDS, SWITCH_SECONDS]
    assert [settle_seconds(*pair) for pair in pairwise(schedule((few,), 1))] == [3.0] * 3
    assert settle_seconds(None, tour, haste=2.0) == 4.0
    assert seconds(windows, 5.0) == 4 * 5.0 + 8.0 + 2 * SWITCH_SECONDS
