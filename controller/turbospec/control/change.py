"""When has the text changed? A test of recent blocks of drafts against all before them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.control.counts import EventCounts

CHANGE_THRESHOLD = 4.0
"""Standard errors between past and recent blocks that count as a change of text; by chance about once in hours."""
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
    """Recent block ``block`` begins something new; ``yield_only``: acceptance is as it was."""

    block: int
    yield_only: bool


def find_change(past: EventCounts, sums: Sequence[EventCounts], positions: int) -> Change | None:
    """Where the recent blocks begin something new, or None.

    ``sums[i]`` are the trials and hits counted before recent block i since some moment before all of them, the last
    entry those up to now: so what came after a boundary is one subtraction. ``past`` is all before the recent blocks.
    The last 1, 2, 4... blocks are compared with everything before them: hits against those expected, summed over
    positions (a change of text moves all of them the same way), in standard errors; acceptance and yield apart.
    """
    first, now = sums[0], sums[-1]
    blocks = len(sums) - 1
    best, score = None, CHANGE_THRESHOLD
    length = 1
    while length <= blocks:
        start = sums[blocks - length]
        for is_yield in (False, True):
            events = range(positions, 2 * positions) if is_yield else range(positions)
            found = _surprise(past, first, start, now, events, YIELD_FALL_MIN_SAMPLES if is_yield else 0.0)
            if found > score:
                best, score = Change(blocks - length, is_yield), found
        length *= 2
    return best


def _surprise(  # noqa: PLR0917 - four moments in time
    past: EventCounts, first: EventCounts, start: EventCounts, now: EventCounts, events: range, least_to_fall: float
) -> float:
    """Standard errors between the hits after a boundary and those that the rates before it predict."""
    samples = surprise = variance = 0.0
    for i in events:
        n = now.trials[i] - start.trials[i]
        if n <= 0.0:
            continue
        before = past.trials[i] + start.trials[i] - first.trials[i]
        if before < CHANGE_MIN_PAST:
            continue
        hits = now.hits[i] - start.hits[i]
        past_hits = past.hits[i] + start.hits[i] - first.hits[i]
        if hits == n and past_hits > SURE_RATE * before:
            # A drafter that always drafts, and always has: no surprise, and no need to add it up.
            continue
        rate = (past_hits + 0.5) / (before + 1.0)
        samples += n
        bounded = min(max(rate, LEAST_RATE), 1.0 - LEAST_RATE)
        surprise += hits - n * rate
        variance += n * bounded * (1.0 - bounded) * (1.0 + n / before)
    if samples < CHANGE_MIN_SAMPLES or (surprise < 0.0 and samples < least_to_fall):
        return 0.0
    return abs(surprise) / math.sqrt(variance)
