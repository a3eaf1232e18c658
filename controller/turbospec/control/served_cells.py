"""What an engine's own traffic says of its step times: means by cell of batch, context and K."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from turbospec.control.step import StepRecord

LOT = 6
"""Steps of a cell that are judged together; a burst of probing that asks for a step time has as many."""
OUTLIER_FACTOR = 1.5
"""Steps longer than this many times their lot's lower quartile were held up by something else and do not count: the
rule of the profiling Job."""
MEMORY_SAMPLES = 128.0
"""Steps that a cell remembers: their mean is known to 0.3% at 3% noise, and follows another clock within minutes."""
MOST_CELLS = 256
"""Cells kept, the latest ones: traffic seldom visits more, and the answer stays below 20 KB."""
BATCHES_PER_OCTAVE = 4
CONTEXTS_PER_OCTAVE = 2
"""Within a cell step times are linear in batch and context, so that mean times belong to mean batches and contexts."""

CellKey = tuple[int, int, int, bool]
"""Numbers of batch and context range, K, and whether its steps exceed the largest graph."""


@dataclass(frozen=True, slots=True)
class ServedCell:
    """Means over ``samples`` pure decode steps at one K; context tokens and verified drafts are per request.

    ``eager``: more tokens than the largest graph holds; False where there are no graphs.
    """

    batch: float
    context_tokens: float
    draft_tokens: int
    drafted_per_request: float
    seconds: float
    samples: int
    eager: bool

    @property
    def key(self) -> CellKey:
        """Cells of several engines with one key may be pooled."""
        return cell_key(self.batch, self.context_tokens, self.draft_tokens, eager=self.eager)


@dataclass(slots=True)
class _Cell:
    """Sums of what counts so far, and the steps of the lot that is being filled: batch, KV tokens, drafts, seconds."""

    samples: float = 0.0
    batch: float = 0.0
    context: float = 0.0
    drafted: float = 0.0
    seconds: float = 0.0
    lot: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take_lot(self) -> None:
        quartile = sorted(step[3] for step in self.lot)[len(self.lot) // 4]
        for batch, kv, drafts, seconds in self.lot:
            if seconds <= OUTLIER_FACTOR * quartile:
                self.samples += 1.0
                self.batch += batch
                self.context += kv / batch
                self.drafted += drafts / batch
                self.seconds += seconds
        self.lot.clear()
        if self.samples > MEMORY_SAMPLES:
            keep = MEMORY_SAMPLES / self.samples
            self.samples, self.batch, self.context = MEMORY_SAMPLES, keep * self.batch, keep * self.context
            self.drafted, self.seconds = keep * self.drafted, keep * self.seconds


class CellCollector:
    """Collects pure decode steps with one K in their whole interval. Not thread-safe."""

    def __init__(self, largest_graph: int | None = None) -> None:
        """``largest_graph`` in tokens; None where nothing is captured."""
        self._largest = math.inf if largest_graph is None else largest_graph
        self._cells: dict[CellKey, _Cell] = {}

    def learn(self, records: Iterable[StepRecord]) -> None:
        """Take in steps; those with prefill, another K behind their drafts, or an unknown interval say nothing."""
        for record in records:
            seconds, k, batch = record.interval_seconds, record.interval_draft_tokens, record.decodes
            if seconds is None or record.prefill_tokens or batch < 1 or record.asked_draft_tokens != k:
                continue
            drafts = record.verified_draft_tokens
            eager = batch + drafts > self._largest
            if not eager and batch * (k + 1) > self._largest:
                # With full drafts it would have been eager: it says nothing of that.
                continue
            key = cell_key(batch, record.kv_tokens / batch, k, eager=eager)
            cell = self._cells.get(key)
            if cell is None:
                cell = self._cells[key] = _Cell()
                if len(self._cells) > MOST_CELLS:
                    del self._cells[next(iter(self._cells))]
            cell.lot.append((batch, record.kv_tokens, drafts, seconds))
            if len(cell.lot) >= LOT:
                cell.take_lot()
                # The cells that were not visited for longest come first.
                self._cells[key] = self._cells.pop(key)

    def cells(self) -> tuple[ServedCell, ...]:
        """Those of which a whole lot was seen."""
        return tuple(
            ServedCell(
                cell.batch / cell.samples,
                cell.context / cell.samples,
                k,
                cell.drafted / cell.samples,
                cell.seconds / cell.samples,
                int(cell.samples),
                eager,
            )
            for (_, _, k, eager), cell in self._cells.items()
            if cell.samples
        )

    def known(self, draft_tokens: int) -> int:
        """Cells of this K with two lots at least: what a profile may hold."""
        return sum(key[2] == draft_tokens and cell.samples >= 2 * LOT for key, cell in self._cells.items())

    def save(self) -> list[list[float]]:
        """Sums of all cells, as plain numbers."""
        return [
            [k, float(eager), cell.samples, cell.batch, cell.context, cell.drafted, cell.seconds]
            for (_, _, k, eager), cell in self._cells.items()
            if cell.samples
        ]

    def restore(self, saved: Sequence[Sequence[float]]) -> None:
        """Go on from what ``save`` said. Raises ValueError, with nothing changed, for what cannot be cells."""
        found: dict[CellKey, _Cell] = {}
        for k, eager, *sums in saved[-MOST_CELLS:]:
            samples, batch, context, drafted, seconds = sums
            if not (all(map(math.isfinite, sums)) and samples >= 1 and min(sums) >= 0 and seconds > 0):
                raise ValueError("saved cells of step times hold impossible values")
            key = cell_key(batch / samples, context / samples, int(k), eager=bool(eager))
            found[key] = _Cell(samples, batch, context, drafted, seconds)
        self._cells = found


def cell_key(batch: float, context_tokens: float, draft_tokens: int, *, eager: bool) -> CellKey:
    """The cell of a step. Batches up to 7 are cells of their own."""
    return (
        int(BATCHES_PER_OCTAVE * math.log2(max(batch, 1.0)) + 1e-6),
        int(CONTEXTS_PER_OCTAVE * math.log2(1.0 + max(context_tokens, 0.0))),
        draft_tokens,
        eager,
    )


def pooled(cells: Iterable[ServedCell]) -> ServedCell:
    """One cell of several with one key (at least one), weighted by their samples."""
    members = list(cells)
    total = sum(cell.samples for cell in members)

    def mean(values: Iterable[float]) -> float:
        return sum(cell.samples * value for cell, value in zip(members, values, strict=True)) / total

    return ServedCell(
        mean(cell.batch for cell in members),
        mean(cell.context_tokens for cell in members),
        members[0].draft_tokens,
        mean(cell.drafted_per_request for cell in members),
        mean(cell.seconds for cell in members),
        total,
        members[0].eager,
    )
