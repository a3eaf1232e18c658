"""Draft counts of engine steps: checked, pooled, merged."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import ge, le
from typing import Protocol

MOST_YIELD_SAMPLES = 8.0
"""What one step can count for in the yield. Requests of one step are not independent there: those that have just
finished their prefill together find no draft together (seen on real vLLM: 8 to 16 misses in one step)."""


class DraftCounts(Protocol):
    """The part of a StepRecord that acceptance is learnt from."""

    @property
    def asked_draft_tokens(self) -> int: ...
    @property
    def drafting_requests(self) -> int: ...
    @property
    def drafted_per_position(self) -> tuple[int, ...]: ...
    @property
    def accepted_per_position(self) -> tuple[int, ...]: ...


@dataclass(slots=True)
class EventCounts:
    """Trials and hits of 2P events: index j is acceptance at position j, P + j is a draft going on to position j."""

    trials: list[float]
    hits: list[float]
    steps: int = 0

    @classmethod
    def zero(cls, positions: int) -> "EventCounts":
        """No trials of any of the 2P events."""
        return cls([0.0] * (2 * positions), [0.0] * (2 * positions))


def plausible(drafted: Sequence[float], accepted: Sequence[float], asked: int) -> bool:
    """Counts fall with depth, and no more tokens are accepted than drafted; comparisons with NaN are false."""
    if len(drafted) < asked or len(accepted) < asked:
        return False
    if len(drafted) > asked:
        drafted = drafted[:asked]
    if len(accepted) > asked:
        accepted = accepted[:asked]
    return (
        accepted[-1] >= 0
        and drafted[0] < math.inf
        and all(map(le, accepted, drafted))
        and all(map(ge, drafted, drafted[1:]))
        and all(map(ge, accepted, accepted[1:]))
    )


def pool(records: Iterable[DraftCounts], positions: int) -> tuple[EventCounts, int]:
    """All drafts of these steps as one block, and how many records were left out because they contradict themselves.

    Trials at position j are the requests accepted through j - 1 that had a draft token at j; where yields differ by
    position only the two separate counts are known, so accepted_(j-1) is scaled by drafted_j / drafted_(j-1).
    Steps are added up before they are checked; only where the sums contradict themselves is each looked at (so counts
    that are wrong within what the others leave room for pass, and can move rates no further than any others).
    """
    groups: dict[tuple[int, bool], list[DraftCounts]] = {}
    for record in records:
        asked = record.asked_draft_tokens
        if asked > 0:
            drafted = record.drafted_per_position
            # An engine that does not count the requests it asked leaves the yield unknown.
            key = (min(asked, positions), bool(drafted) and record.drafting_requests >= drafted[0])
            if key in groups:
                groups[key].append(record)
            else:
                groups[key] = [record]
    block, ignored = EventCounts.zero(positions), 0
    for (asked, counted), group in groups.items():
        drafted_sums, accepted_sums = _columns(group)
        if not plausible(drafted_sums, accepted_sums, asked):
            sound = [r for r in group if plausible(r.drafted_per_position, r.accepted_per_position, asked)]
            ignored += len(group) - len(sound)
            group = sound  # noqa: PLW2901 - what is left of it
            drafted_sums, accepted_sums = _columns(group)
        if group:
            block.steps += len(group)
            requests = sum([record.drafting_requests for record in group]) if counted else 0
            _add(block, asked, requests, drafted_sums, accepted_sums, len(group))
    return block, ignored


def _columns(group: Sequence[DraftCounts]) -> tuple[list[int], list[int]]:
    """Sums by position, over as many positions as all of them have."""
    drafted = [sum(column) for column in zip(*[record.drafted_per_position for record in group], strict=False)]
    return drafted, [sum(column) for column in zip(*[record.accepted_per_position for record in group], strict=False)]


def _add(  # noqa: PLR0917 - sums over one group
    block: EventCounts, asked: int, requests: int, drafted: Sequence[int], accepted: Sequence[int], steps: int
) -> None:
    positions = len(block.trials) // 2
    trials, hits = block.trials, block.hits
    before, reached = float(requests), float(drafted[0])
    weight = min(1.0, MOST_YIELD_SAMPLES * steps / requests) if requests else 1.0
    for j in range(asked):
        if before > 0:
            trials[positions + j] += weight * before
            hits[positions + j] += weight * drafted[j]
        if drafted[j] == 0:
            return
        if j > 0:
            reached = accepted[j - 1] * drafted[j] / drafted[j - 1]
        if reached > 0:
            trials[j] += reached
            # Scaling by the yield is exact on average only: a block may hold a few more hits than trials.
            hits[j] += min(accepted[j], reached)
        before = float(drafted[j])


@dataclass(frozen=True, slots=True)
class TimestampedCounts:
    """Acceptance counts of one position from one source (an engine, a pod) up to a moment, in seconds of any clock."""

    seconds: float
    trials: float
    hits: float


def merge(counts: Iterable[TimestampedCounts], *, now_seconds: float, half_life_seconds: float) -> tuple[float, float]:
    """Pooled (trials, hits), each entry halved per half-life of its age; the order of the entries does not matter.

    Entries from the future count as new. Raises ValueError for impossible counts or a half-life that is not positive.
    """
    if not 0 < half_life_seconds < math.inf:
        raise ValueError(f"half-life is {half_life_seconds} s: it must be positive")
    trials, hits = [], []
    for entry in counts:
        if not (0 <= entry.hits <= entry.trials < math.inf and math.isfinite(entry.seconds)):
            raise ValueError(f"{entry.hits} hits of {entry.trials} trials at {entry.seconds} s are impossible counts")
        weight = 0.5 ** (max(0.0, now_seconds - entry.seconds) / half_life_seconds)
        trials.append(weight * entry.trials)
        hits.append(weight * entry.hits)
    # fsum is exact before its one rounding, so that no order of the terms gives another sum.
    return math.fsum(trials), math.fsum(hits)
