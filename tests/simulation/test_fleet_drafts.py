"""What a simulated engine counts of its drafts."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.fleet_builders import Fixed, day_of, scenario
from turbospec.simulation.fleet.drafts import FEW_TRIALS, draw_counts
from turbospec.simulation.fleet.replica import Done
from turbospec.simulation.fleet.serving import MACRO_SECONDS, Serving

REACH, LONGER = (0.66, 0.38, 0.21), (1.0, 0.9, 0.8)
DRAWN = 20_000
"""Drafts of each case: shares are known to 0.0035."""


@pytest.mark.parametrize("trials", [1, 2, 5, FEW_TRIALS, FEW_TRIALS + 1, 200])
def test_shares_are_the_same_however_few_drafts_are_counted_at_once(trials: int) -> None:
    source = random.Random(1)  # noqa: S311 - no secret
    found = [draw_counts(source, trials, 3, REACH, LONGER) for _ in range(DRAWN // trials)]
    drafted, accepted = np.array(found).sum(axis=0) / (DRAWN // trials * trials)
    assert drafted == pytest.approx(LONGER, abs=0.012)
    assert accepted == pytest.approx(REACH, abs=0.012)


@st.composite
def shares(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Accepted beyond, and going on to, each position."""
    longer = sorted(draw(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7)), reverse=True)
    reach, before = [], 1.0
    for share in longer:
        before = draw(st.floats(0.0, 1.0)) * min(before, share)
        reach.append(before)
    return reach, longer


@given(shares(), st.integers(0, 40), st.integers(0, 1000))
def test_counts_fall_with_depth_and_no_more_is_accepted_than_drafted(
    text: tuple[Sequence[float], Sequence[float]], trials: int, seed: int
) -> None:
    reach, longer = text
    k = seed % (len(reach) + 1)
    source = random.Random(seed)  # noqa: S311 - no secret
    drafted, accepted = draw_counts(source, trials, k, reach, longer)
    assert len(drafted) == len(accepted) == len(reach)
    assert all(0 <= a <= d for a, d in zip(accepted, drafted, strict=True))
    assert all(a >= b for counts in (drafted, accepted) for a, b in zip([trials, *counts], counts, strict=False))
    assert not any([*drafted[k:], *accepted[k:]])


class Noted(Fixed):
    """One K, and what there was to learn."""

    learns = True

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.done: list[Done] = []

    def learn(self, done: Done) -> None:
        """Noted."""
        self.done.append(done)


def test_requests_that_end_in_a_macro_step_are_learnt_from() -> None:
    """Their drafts were accepted like others; an engine that is empty afterwards did not stop finding any."""
    small = scenario(
        load=[{"seconds": 60, "requestsPerSecond": 1, "promptTokens": 50, "outputTokens": 60, "acceptance": [0.7]}]
    )
    day, brain = day_of(small), Noted(3)
    serving = Serving(small.spec.engine, day, 7, slots=1)
    replica = serving.start(0, brain, 0.0)
    for tick in range(120):
        start = tick * MACRO_SECONDS
        replica.waiting.extend(range(*np.searchsorted(day.at, [start, start + MACRO_SECONDS])))
        serving.tick(start, start + MACRO_SECONDS)
    assert len(brain.done) > 5
    for done in brain.done:
        assert done.longer == pytest.approx([1.0] * 7)
        assert done.reach[0] == pytest.approx(0.7, abs=0.01)
