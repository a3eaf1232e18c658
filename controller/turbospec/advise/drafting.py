"""What counters of drafts tell of acceptance, yield and the K that ran."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from turbospec.advise.series import Window, moments
from turbospec.control.acceptance import PositionEstimate

WHOLE_DRAFTS = 0.03
"""Relative distance of the mean draft length from a whole number up to which all drafts of a window had that length."""
LONGER_SHARE = 0.001
"""Tokens accepted beyond that length, per draft, that tell of longer drafts: fewer belong to a neighbouring window."""
DRAFTING_SHARE = 0.9
"""Share of the requests that get a draft where a drafter always makes one: their first and last steps have none."""
CLEAN_SHARE = 0.25
"""Share of all drafts from windows of one length from which on those alone tell acceptance."""
LEAST_DRAFTS = 500.0
"""Drafts of the whole time below which acceptance counts as unknown: its standard error would exceed 0.02."""
POOLED_DRAFTS = 200.0
"""What acceptance over the whole time counts for in each moment, in drafts."""
BORROWED_SPREAD = 0.5
"""Standard deviation (log odds) between the text of one time of day and another's; a judgement, half of what separates
one kind of text from another."""
LEAST_TRIALS = 30.0
"""Drafts that must have reached a position for its acceptance to be known."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The windows of one time, and what their text was like.

    ``estimates`` has one entry per position that was drafted; deeper ones are not known. ``ran[i]`` is the K that
    window i ran, a mean where it ran several.
    """

    windows: tuple[Window, ...]
    estimates: tuple[PositionEstimate, ...]
    ran: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Drafting:
    """All moments of a group. ``overall``: the text of the whole time; ``lookup``: drafts are not always found."""

    moments: tuple[Moment, ...]
    overall: tuple[PositionEstimate, ...]
    lookup: bool
    draft_tokens: int
    """The longest draft that the engines make."""


@dataclass(slots=True)
class _Counts:
    """Sums over windows: trials and hits of acceptance by position, and what the yield is made of."""

    trials: list[float]
    hits: list[float]
    drafted: list[float] = field(default_factory=list)
    request_steps: float = 0.0


def drafting(windows: Sequence[Window]) -> Drafting | None:
    """What the drafts of these windows tell; None where there are too few (below ``LEAST_DRAFTS``)."""
    busy = [window for window in windows if window.busy]
    drafts = sum(window.drafts or 0.0 for window in busy)
    positions = max((len(window.accepted) for window in busy), default=0)
    if drafts < LEAST_DRAFTS or not positions:
        return None
    clean = sum(window.drafts or 0.0 for window in busy if _length(window) is not None)
    lookup = clean < CLEAN_SHARE * drafts
    pooled = _counts(busy, positions, lookup=lookup)
    overall = _estimates(pooled, pooled)
    found = []
    for together in moments(busy):
        counts = _counts(together, positions, lookup=lookup)
        ran = tuple(_ran(window, positions, lookup=lookup) for window in together)
        found.append(Moment(together, _estimates(counts, pooled), ran))
    return Drafting(tuple(found), overall, lookup, positions)


def _length(window: Window) -> int | None:
    """The length of all drafts of a window; None where there are none, of several lengths, or not for every request."""
    if not window.drafts or window.drafts < DRAFTING_SHARE * window.request_steps:
        return None
    mean = window.draft_tokens / window.drafts
    whole = round(mean)
    # Drafts of 1 and of 3 tokens may have a mean of 2: then some third ones were accepted.
    longer = sum(window.accepted[whole:]) > LONGER_SHARE * window.drafts
    possible = 0 < whole <= len(window.accepted) and not longer
    return whole if possible and abs(mean - whole) <= WHOLE_DRAFTS * whole else None


def _ran(window: Window, positions: int, *, lookup: bool) -> float:
    if not window.drafts:
        return 0.0
    if lookup:
        # What is shorter was not found: the engine asks for its maximum always.
        return float(positions)
    length = _length(window)
    return float(length) if length is not None else min(window.drafted, float(positions))


def _counts(windows: Sequence[Window], positions: int, *, lookup: bool) -> _Counts:
    counts = _Counts([0.0] * positions, [0.0] * positions, [0.0] * positions)
    for window in windows:
        if not window.drafts:
            continue
        length = _length(window)
        if lookup:
            drafted = _falling(window.drafts, window.draft_tokens, positions)
            counts.request_steps += window.request_steps
        elif length is None:
            # Several K in one window: how many drafts reached a position cannot be told.
            continue
        else:
            drafted = [window.drafts if j < length else 0.0 for j in range(positions)]
        for j, number in enumerate(drafted):
            accepted = window.accepted[j] if j < len(window.accepted) else 0.0
            # As in control.counts: those accepted so far, as far as they had a draft token here.
            reached = number if j == 0 else window.accepted[j - 1] * number / max(drafted[j - 1], 1e-9)
            counts.drafted[j] += number
            counts.trials[j] += reached if number else 0.0
            counts.hits[j] += min(accepted, reached) if number else 0.0
    return counts


def _falling(drafts: float, draft_tokens: float, positions: int) -> list[float]:
    """Drafts by position where only their mean length is known: each position loses the same share of them."""
    mean = min(max(draft_tokens / drafts, 1.0), float(positions))
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2.0
        low, high = (share, high) if sum(share**j for j in range(positions)) < mean else (low, share)
    return [drafts * low**j for j in range(positions)]


def _estimates(counts: _Counts, pooled: _Counts) -> tuple[PositionEstimate, ...]:
    """Acceptance by position, drawn towards that of the whole time as far as the moment has few drafts.

    As deep as the moment drafted; one without drafts has the estimates of the whole time.
    """
    found: list[PositionEstimate] = []
    for j, (trials, hits) in enumerate(zip(counts.trials, counts.hits, strict=True)):
        if pooled.trials[j] < LEAST_TRIALS or (any(counts.drafted) and counts.drafted[j] < LEAST_TRIALS):
            # Longer drafts of another time were of other text: how this text goes on is not known.
            break
        rate = min(max(pooled.hits[j] / pooled.trials[j], 1e-3), 1.0 - 1e-3)
        own = 0.0 if counts is pooled else POOLED_DRAFTS
        acceptance = (hits + own * rate) / (trials + own)
        asked = counts if counts.request_steps else pooled
        draft_yield = min(1.0, asked.drafted[j] / asked.request_steps) if pooled.request_steps else None
        found.append(PositionEstimate(acceptance, draft_yield, trials, _spread(trials, acceptance, own)))
    return tuple(found)


def _spread(trials: float, acceptance: float, pooled: float) -> float:
    """Binomial error in log odds; what a moment borrows from the whole time may be of other text."""
    own = trials / (trials + pooled)
    binomial = own / math.sqrt(max(trials, 1.0) * max(acceptance * (1.0 - acceptance), 0.01))
    return math.hypot(binomial, (1.0 - own) * BORROWED_SPREAD)
