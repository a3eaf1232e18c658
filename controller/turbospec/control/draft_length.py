"""Which draft length K each batch size gets."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from turbospec.control.goodput import Prediction
from turbospec.control.latency_fit import Floats

HYSTERESIS_MARGIN = 0.02
"""Another K must promise this much more goodput than the one in force: about the noise of the estimates, and the most
that staying can cost."""


class Reason(StrEnum):
    """Why K is what it is."""

    HIGHEST_GOODPUT = "HighestGoodput"
    HYSTERESIS = "Hysteresis"
    PROBE = "Probe"
    ONLY_ALLOWED = "OnlyAllowed"
    TABLE = "Table"
    STARTUP_TABLE = "StartupTable"
    NO_LATENCY_MODEL = "NoLatencyModel"
    NO_ACCEPTANCE = "NoAcceptance"
    NO_PROFILE = "NoProfile"
    """The highest goodput by step times learnt while serving, where no profile was given."""
    UNATTAINABLE = "Unattainable"
    """No allowed K meets the objective: the one that delivers most, which is the soonest way back under it."""


class Bounding(StrEnum):
    """What keeps a K with higher predicted goodput, or a longer draft, from being used."""

    GOODPUT = "Goodput"
    """Nothing: more drafts would deliver less."""
    ALLOWED = "AllowedDraftTokens"
    """It is the largest allowed K."""
    OBJECTIVE = "Objective"
    TOKEN_BUDGET = "TokenBudget"  # noqa: S105  # no secret
    """Drafts would take the room of waiting prefills."""
    HYSTERESIS = "Hysteresis"


@dataclass(frozen=True, slots=True)
class Decision:
    """K for the composition last decided on, why, and what every allowed K was expected to deliver."""

    draft_tokens: int
    reason: Reason
    predictions: tuple[Prediction, ...] = ()
    bounding: Bounding | None = None


@dataclass(frozen=True, slots=True)
class DraftTable:
    """K by batch: ``entries[b]`` is for b decoding requests; index 0 is unused (and equals index 1).

    ``held``: batches where hysteresis keeps a K that is not the best predicted; ``limited``: where a K of higher
    goodput misses the objective or the token budget; ``unattainable``: where every K misses the objective.
    ``left[b - 1]`` is the K that ``entries[b]`` replaced, -1 where there was none; None where that is not remembered.
    """

    entries: tuple[int, ...]
    held: frozenset[int] = frozenset()
    limited: frozenset[int] = frozenset()
    unattainable: frozenset[int] = frozenset()
    left: NDArray[np.intp] | None = field(default=None, compare=False)

    def at(self, batch: int) -> int:
        """K for this batch; batches outside the table get the nearest entry."""
        return self.entries[min(max(batch, 1), len(self.entries) - 1)]


def choose(
    goodput: Floats,
    allowed: Sequence[int],
    previous: DraftTable | None,
    margin: float | Floats = HYSTERESIS_MARGIN,
    excess: Floats | None = None,
    *,
    back: float | None = None,
    recent: Collection[int] = (),
) -> DraftTable:
    """The K of highest goodput for every batch, unless the previous K is within ``margin`` of it.

    ``goodput`` has shape (len(allowed), batches), column 0 for batch 1; ``allowed`` rises. Of equals the smallest
    K wins. ``margin`` may be a matrix: [best, previous]; ``back`` is asked at least of the K that the previous one had
    replaced. ``excess`` (same shape) above 1 forbids a K, unless all are forbidden. No K of ``recent`` replaces
    another, whatever it promises.
    """
    columns, ks = np.arange(goodput.shape[1]), np.array(allowed)
    free = best = goodput.argmax(axis=0)
    unattainable: NDArray[np.bool_] = np.zeros(goodput.shape[1], dtype=np.bool_)
    if excess is not None:
        met = excess <= 1.0
        unattainable = np.asarray(~met.any(axis=0))
        goodput = np.where(met | unattainable, goodput, 0.0)
        best = goodput.argmax(axis=0)
    chosen = best
    left: NDArray[np.intp] = np.full(goodput.shape[1], -1)
    if previous is not None:
        # A K that is no longer allowed is held by nothing: it counts as already the best.
        had = np.array(previous.entries[1:])
        before = np.minimum(np.searchsorted(ks, had), len(ks) - 1)
        before = np.where(ks[before] == had, before, best)
        if previous.left is not None:
            left = previous.left
        needed = np.full(goodput.shape[1], margin) if isinstance(margin, float) else margin[best, before]
        if back is not None:
            needed = np.where(ks[best] == left, np.maximum(needed, back), needed)
        keep = goodput[best, columns] <= goodput[before, columns] * (1.0 + needed)
        if len(recent):
            keep = keep | np.isin(ks[best], list(recent))
        chosen = np.where(keep, before, best)
        left = np.where(ks[chosen] == had, left, had)
    entries: list[int] = ks[chosen].tolist()
    return DraftTable(
        (entries[0], *entries),
        _batches(chosen != best),
        _batches((best != free) & ~unattainable),
        _batches(unattainable),
        left,
    )


def _batches(mask: NDArray[np.bool_]) -> frozenset[int]:
    return frozenset((np.flatnonzero(mask) + 1).tolist()) if mask.any() else frozenset()


def restrict(table: Sequence[int], allowed: Sequence[int], batches: int) -> DraftTable:
    """A table with batches rows that stays within ``allowed``: the largest allowed K not above the wanted one.

    ``table`` is indexed by batch, index 0 unused; beyond its end the last entry holds.
    """
    wanted = [table[min(batch, len(table) - 1)] for batch in range(1, batches + 1)]
    entries = [max((k for k in allowed if k <= want), default=min(allowed)) for want in wanted]
    return DraftTable((entries[0], *entries))
