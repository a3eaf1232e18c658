"""The order of the demo's windows."""

from collections import Counter

import pytest

from e2e.demo.phases import ARMS, MODELS, schedule


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_arm_passes_through_all_phases_in_order_in_every_round(model: str) -> None:
    """A pass of an arm is one continuous piece of load, which the picture shows."""
    phases = MODELS[model].phases
    windows = schedule(phases, 3)
    passes = [windows[start : start + len(phases)] for start in range(0, len(windows), len(phases))]
    assert [tuple(window.phase for window in each) for each in passes] == [phases] * 9
    assert all(len({(window.round, window.arm) for window in each}) == 1 for each in passes)
    assert Counter(window.arm for window in windows) == dict.fromkeys(ARMS, 3 * len(phases))


def test_each_arm_goes_first_once_in_as_many_rounds_as_there_are_arms() -> None:
    """Slow drift of the machine favours nobody."""
    phases = MODELS["dial"].phases
    windows = schedule(phases, len(ARMS))
    first = [windows[number * len(ARMS) * len(phases)].arm for number in range(len(ARMS))]
    assert sorted(arm.name for arm in first) == sorted(arm.name for arm in ARMS)
