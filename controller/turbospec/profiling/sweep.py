"""The sweep over all cells, within its time: once over the whole range, then again where medians are least certain."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, pstdev
from typing import Protocol

from turbospec.control.step import StepRecord
from turbospec.profiling.evaluate import FEWEST_SAMPLES, without_outliers
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import CellError, is_clean

logger = logging.getLogger(__name__)

ROUNDS_PER_VISIT = 2
"""One upwards and one downwards, so that each visit by itself is free of a first-order drift."""
GOOD_ENOUGH = 0.01
"""Standard error of a median, relative to it, below which another visit of its cell cannot change a decision."""
MOST_VISITS = 4
"""Visits of one cell; what is still uncertain then is the machine, not the sample."""
SLICE = 3.0
"""A cell that has taken this many times its even share of the time left gets no second round."""
FEWEST_CELLS = 4
"""Complete cells without which a run is wasted: it goes on for them after its time, at most as long again."""

NAMED_BATCHES = 12
"""Batches without a cell that are named; more would not be read, and the line must stay short."""


class CellMeter(Protocol):
    """What measures a cell: ``turbospec.profiling.measure.Meter``, or a simulation of it."""

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        """As ``Meter.measure``."""
        ...


@dataclass(slots=True)
class Sweep:
    """Measures cells until all are certain or ``seconds`` are over. ``records`` holds what was seen, by cell."""

    meter: CellMeter
    plans: Sequence[CellPlan]
    draft_tokens: Sequence[int]
    seconds: float
    clock: Callable[[], float] = time.monotonic
    records: dict[CellPlan, list[StepRecord]] = field(default_factory=dict, init=False)
    last_refusal: str | None = field(default=None, init=False)
    _visits: dict[CellPlan, int] = field(default_factory=dict, init=False)
    _started: float = field(default=0.0, init=False)

    def run(self) -> None:
        """EngineError where the engine hangs or is gone; a cell that vLLM refuses is logged and passed over."""
        self._started = self.clock()
        for number, plan in enumerate(self.plans):
            if self.clock() >= (self._deadline if len(self.complete()) >= FEWEST_CELLS else self._last):
                logger.info("time is up after %d of %d cells", number, len(self.plans))
                return
            self._report(number, plan)
            self._visit(plan, len(self.plans) - number)
        logger.info("all %d cells measured in %.0f s", len(self.plans), self.clock() - self._started)
        while self.clock() < self._deadline and (worst := self._least_certain()) is not None:
            known, left = min(self._uncertainty(worst), 1.0), self._deadline - self.clock()
            logger.info(
                "again: batch %d, prompt %d tokens (medians known to %.1f%%), at most %.0f s left",
                worst.batch, worst.prompt_tokens, 100 * known, left,
            )  # fmt: skip
            self._visit(worst, 1)

    def complete(self) -> list[CellPlan]:
        """Cells with enough clean steps of every K: those that a profile can hold."""
        return [plan for plan in self.records if math.isfinite(self._uncertainty(plan))]

    def coverage(self) -> str:
        """How many of the planned cells were measured, and the batches at which none was: one short line of ASCII."""
        complete = self.complete()
        missing = sorted({plan.batch for plan in self.plans} - {plan.batch for plan in complete})
        shown = ", ".join(str(batch) for batch in missing[:NAMED_BATCHES])
        more = f" and {len(missing) - NAMED_BATCHES} more" if len(missing) > NAMED_BATCHES else ""
        said = f"{len(complete)} of {len(self.plans)} cells"
        return f"{said}, none at batch {shown}{more}" if missing else said

    @property
    def _deadline(self) -> float:
        return self._started + self.seconds

    @property
    def _last(self) -> float:
        return self._started + 2 * self.seconds

    def _visit(self, plan: CellPlan, cells_left: int) -> None:
        now = self.clock()
        slow = now + max(0.0, SLICE * (self._deadline - now) / cells_left)
        self._visits[plan] = self._visits.get(plan, 0) + 1
        try:
            seen = self.meter.measure(plan, self.draft_tokens, ROUNDS_PER_VISIT, slow=slow, last=self._last)
        except CellError as error:
            self.last_refusal = str(error)
            self._visits[plan] = MOST_VISITS
            logger.warning("batch %d, prompt %d tokens passed over: %s", plan.batch, plan.prompt_tokens, error)
            return
        self.records.setdefault(plan, []).extend(seen)

    def _least_certain(self) -> CellPlan | None:
        """The cell to visit again; None where every median is certain enough or was tried often enough."""
        open_plans = [plan for plan in self.plans if self._visits[plan] < MOST_VISITS]
        worst = max(open_plans, key=self._uncertainty, default=None)
        return worst if worst is not None and self._uncertainty(worst) > GOOD_ENOUGH else None

    def _uncertainty(self, plan: CellPlan) -> float:
        """The largest relative standard error of the cell's medians over K."""
        return max(relative_standard_error(self._seconds(plan, k)) for k in self.draft_tokens)

    def _seconds(self, plan: CellPlan, k: int) -> list[float]:
        seen = self.records.get(plan, ())
        return [record.interval_seconds or 0.0 for record in seen if is_clean(record, plan.batch, k)]

    def _report(self, number: int, plan: CellPlan) -> None:
        elapsed = self.clock() - self._started
        left = max(0.0, self._deadline - self.clock())
        if number:
            left = min(left, elapsed / number * (len(self.plans) - number))
        logger.info(
            "%3d%% cell %d of %d: batch %d, prompt %d tokens, about %.0f s left",
            100 * number // len(self.plans), number + 1, len(self.plans), plan.batch, plan.prompt_tokens, left,
        )  # fmt: skip


def relative_standard_error(values: Sequence[float]) -> float:
    """Of the median of ``values`` without outliers, relative to it; infinite where there are too few.

    1.2533 is the standard error of a median over that of a mean, for normally distributed values.
    """
    if len(values) < FEWEST_SAMPLES:
        return math.inf
    kept = without_outliers(values)
    return 1.2533 * pstdev(kept) / math.sqrt(len(kept)) / median(kept)
