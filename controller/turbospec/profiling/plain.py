"""Measures an engine without speculation: the cells of a sweep, with one K, in the time that is left."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepRecord
from turbospec.profiling.client import ControlClient
from turbospec.profiling.evaluate import FEWEST_SAMPLES, pseudo_median, without_outliers
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import SETTLING_STEPS, CellError, block_steps, is_clean
from turbospec.profiling.progress import progress
from turbospec.profiling.sweep import CellMeter
from turbospec.wire.latency import MICRO
from turbospec.wire.plain_engine import PlainCell

logger = logging.getLogger(__name__)

ROUNDS = 1
"""With one K there is nothing to interleave."""
MOST_SHARE = 0.1
"""A cell that would take this share of the whole time, by the model of the speculating engine, is left out."""
PLAIN = (0,)


class PlainControl(ControlClient):
    """The control server of an engine without speculation: it takes no documents, and K is 0 anyway."""

    def force(self, draft_tokens: int, max_num_seqs: int) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class PlainSweep:
    """One visit to each cell, the order being that of the plan: coarse first.

    ``model`` is the speculating engine's, from which what a cell will take is guessed.
    """

    meter: CellMeter
    plans: Sequence[CellPlan]
    model: LatencyModel
    seconds: float
    clock: Callable[[], float] = time.monotonic

    def run(self) -> list[PlainCell]:
        """The cells measured. EngineError where the engine hangs or is gone; what vLLM refuses is passed over."""
        started, found = self.clock(), list[PlainCell]()
        last = started + self.seconds
        for number, plan in enumerate(self.plans, 1):
            left = last - self.clock()
            if self._cost(plan) > min(left, MOST_SHARE * self.seconds):
                continue
            doing = f"without speculation, visit {number}: batch {plan.batch}, prompt {plan.prompt_tokens} tokens"
            logger.info("%s", progress(doing, self.clock() - started, self.seconds))
            try:
                records = self.meter.measure(plan, PLAIN, ROUNDS, slow=last, last=last)
            except CellError as error:
                logger.warning("batch %d, prompt %d tokens passed over: %s", plan.batch, plan.prompt_tokens, error)
                continue
            cell = plain_cell(plan, records)
            if cell is not None:
                found.append(cell)
        return found

    def _cost(self, plan: CellPlan) -> float:
        steps = ROUNDS * (sum(block_steps(PLAIN)) + SETTLING_STEPS)
        decoding = self.model.step_seconds(
            decodes=plan.batch, draft_tokens=0, kv_tokens=plan.batch * plan.prompt_tokens
        )
        return plan.batch * plan.prompt_tokens * self.model.fit.per_batched_token + steps * decoding


def plain_cell(plan: CellPlan, records: Sequence[StepRecord]) -> PlainCell | None:
    """The median of the clean steps without outliers, at the mean context seen; None where there are too few."""
    clean = [record for record in records if is_clean(record, plan.batch, 0)]
    if len(clean) < FEWEST_SAMPLES:
        return None
    kept = without_outliers([record.interval_seconds for record in clean if record.interval_seconds is not None])
    context = fmean(record.kv_tokens / plan.batch for record in clean)
    return PlainCell(
        batch=plan.batch,
        context_tokens=round(context),
        microseconds=max(1, round(pseudo_median(kept) * MICRO)),
        samples=len(kept),
    )
