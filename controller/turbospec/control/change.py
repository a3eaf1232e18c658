"""When has the text changed? A test of recent blocks of drafts against all before them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.control.counts import EventCounts

CHANGE_THRESHOLD = 5.0
"""Standard errors between past and recent blocks that count as a change of text. With 4.0 a steady text of 100 steps a
second "changed" every five minutes, with 4.5 twice in an hour: every block is looked at over several windows and
depths."""
DEEP_THRESHOLD = 6.0
"""The same for deep positions alone: they are tested once for each depth."""
CHANGE_MIN_SAMPLES = 6.0
"""Samples after a change that can show it; one probe burst must be able to."""
YIELD_FALL_MIN_SAMPLES = 24.0
"""The same for a yield that falls: three steps at least, for misses of one step are one event (see ``counts``)."""
CHANGE_MIN_PAST = 20.0
"""Samples before it: fewer have no rate that could be contradicted."""
LEAST_RATE = 0.05
"""Near 0 and 1 the normal approximation calls single surprises changes: never below the variance at this rate."""
SURE_RATE = 0.97
"""Above it a full house is what was expected."""


@dataclass(frozen=True, slots=True)
class Change:
    """Recent block ``block`` begins something new, in the events ``first`` and beyond (see EventCounts): all of them
    where the first position changed, some positions' acceptance, or the yields."""

    block: int
    first: int
    last: int


def find_change(past: EventCounts, sums: Sequence[EventCounts], positions: int) -> Change | None:
    """Where the recent blocks begin something new, or None.

    ``sums[i]`` are the trials and hits counted before recent block i since some moment before all of them, the last
    entry those up to now: so what came after a boundary is one subtraction. ``past`` is all before the recent blocks.
    The last 1, 2, 4... blocks are compared with everything before them: hits against those expected, in standard
    errors, summed over all positions (a change of text moves all of them the same way) and over those from some depth
    on (deep ones have few samples beside the first); acceptance and yield apart.
    """
    blocks = len(sums) - 1
    found, score = None, 1.0
    length = 1
    while length <= blocks:
        window = _Window(past, sums[0], sums[blocks - length], sums[-1])
        first, surprise = _acceptance(window, positions)
        if surprise > score:
            found, score = Change(blocks - length, first, positions if first else 2 * positions), surprise
        surprise = _yield(window, positions)
        if surprise > score:
            found, score = Change(blocks - length, positions, 2 * positions), surprise
        length *= 2
    return found


@dataclass(frozen=True, slots=True)
class _Window:
    """Counts before the recent blocks, at their beginning, at the boundary looked at, and now."""

    past: EventCounts
    begin: EventCounts
    boundary: EventCounts
    now: EventCounts

    def surprise(self, i: int) -> tuple[float, float, float]:
        """Samples after the boundary, hits beyond the expected, and the variance of that; zeros where none can tell."""
        n = self.now.trials[i] - self.boundary.trials[i]
        if n <= 0.0:
            return 0.0, 0.0, 0.0
        before = self.past.trials[i] + self.boundary.trials[i] - self.begin.trials[i]
        if before < CHANGE_MIN_PAST:
            return 0.0, 0.0, 0.0
        hits = self.now.hits[i] - self.boundary.hits[i]
        hits_before = self.past.hits[i] + self.boundary.hits[i] - self.begin.hits[i]
        if hits == n and hits_before > SURE_RATE * before:
            # A drafter that always drafts, and always has: no surprise, and no need to add it up.
            return 0.0, 0.0, 0.0
        rate = (hits_before + 0.5) / (before + 1.0)
        bounded = min(max(rate, LEAST_RATE), 1.0 - LEAST_RATE)
        return n, hits - n * rate, n * bounded * (1.0 - bounded) * (1.0 + n / before)


def _acceptance(window: _Window, positions: int) -> tuple[int, float]:
    """The first position of the most surprising run of positions to the end, and its surprise over the threshold."""
    samples = surprise = variance = best = 0.0
    first = 0
    for i in range(positions - 1, -1, -1):
        n, beyond, spread = window.surprise(i)
        if n == 0.0:
            continue
        samples, surprise, variance = samples + n, surprise + beyond, variance + spread
        if samples >= CHANGE_MIN_SAMPLES:
            score = abs(surprise) / math.sqrt(variance) / (DEEP_THRESHOLD if i else CHANGE_THRESHOLD)
            if score > best:
                first, best = i, score
    return first, best


def _yield(window: _Window, positions: int) -> float:
    samples = surprise = variance = 0.0
    for i in range(positions, 2 * positions):
        n, beyond, spread = window.surprise(i)
        samples, surprise, variance = samples + n, surprise + beyond, variance + spread
    if samples < CHANGE_MIN_SAMPLES or (surprise < 0.0 and samples < YIELD_FALL_MIN_SAMPLES):
        return 0.0
    return abs(surprise) / math.sqrt(variance) / CHANGE_THRESHOLD
