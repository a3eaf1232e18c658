"""Which draft length K each batch size gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

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


@dataclass(frozen=True, slots=True)
class Decision:
    """K for the composition last decided on, why, and what every allowed K was expected to deliver."""

    draft_tokens: int
    reason: Reason
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True, slots=True)
class DraftTable:
    """K by batch: ``entries[b]`` is for b decoding requests; index 0 is unused (and equals index 1).

    ``held`` marks the batches where hysteresis keeps a K that is not the best predicted.
    """

    entries: tuple[int, ...]
    held: frozenset[int] = frozenset()

    def at(self, batch: int) -> int:
        """K for this batch; batches outside the table get the nearest entry."""
        return self.entries[min(max(batch, 1), len(self.entries) - 1)]


def choose(
    goodput: Floats, allowed: Sequence[int], previous: DraftTable | None, margin: float = HYSTERESIS_MARGIN
) -> DraftTable:
    """The K of highest goodput for every batch, unless the previous K is within ``margin`` of it.

    ``goodput`` has shape (len(allowed), batches), column 0 for batch 1. Of equals the smallest K wins.
    """
    columns = np.arange(goodput.shape[1])
    best = goodput.argmax(axis=0)
    chosen = best
    if previous is not None:
        index = {k: i for i, k in enumerate(allowed)}
        # A K that is no longer allowed is held by nothing: it counts as already the best.
        before = np.array([index.get(k, -1) for k in previous.entries[1:]])
        before = np.where(before < 0, best, before)
        keep = goodput[best, columns] <= goodput[before, columns] * (1.0 + margin)
        chosen = np.where(keep, before, best)
    entries = [allowed[i] for i in chosen.tolist()]
    held = frozenset((np.flatnonzero(chosen != best) + 1).tolist())
    return DraftTable((entries[0], *entries), held)


def restrict(table: Sequence[int], allowed: Sequence[int], batches: int) -> DraftTable:
    """A table with batches rows that stays within ``allowed``: the largest allowed K not above the wanted one.

    ``table`` is indexed by batch, index 0 unused; beyond its end the last entry holds.
    """
    wanted = [table[min(batch, len(table) - 1)] for batch in range(1, batches + 1)]
    entries = [max((k for k in allowed if k <= want), default=min(allowed)) for want in wanted]
    return DraftTable((entries[0], *entries))
