"""The sweep, within its time: coarse over the whole range first, then where the decision is least sure."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.control.step import StepRecord
from turbospec.profiling.accuracy import Accuracy, held_out
from turbospec.profiling.choose import most_worth
from turbospec.profiling.evaluate import FEWEST_SAMPLES, TooFewSamplesError, survey
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import SETTLING_STEPS, CellError, block_steps, is_clean
from turbospec.profiling.progress import progress
from turbospec.profiling.surface import Surface

logger = logging.getLogger(__name__)

ROUNDS_PER_VISIT = 2
"""One upwards and one downwards, so that each visit by itself is free of a first-order drift."""
COARSE_CELLS = 8
"""Cells spread over the whole range before what was measured chooses the next."""
CHECK_EVERY = 4
"""Visits between two looks at the error target; each takes as long as some steps."""
MOST_REFUSALS = 3
"""Visits of one cell that end with a refusal, before it is left: one may be the bad luck of a busy machine."""
MOST_VISITS = 12
"""Visits of one cell; what is still uncertain then is the machine, not the sample."""
SHARE = 0.1
"""A visit that has taken this share of the time left gets no second round."""
MOST_SHARE = 0.1
"""A longer context whose prefill alone would take this share of the whole time is left to the fit."""
FEWEST_CELLS = 4
"""Complete cells without which a run is wasted: it goes on for them after its time, at most as long again."""

NAMED_BATCHES = 8
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
    """Measures cells until the error target is reached, nothing is left to learn, or ``seconds`` are over.

    ``between`` are cells that no coverage asks for, taken where those of ``plans`` leave doubt. ``records`` holds what
    was seen, by cell; ``accuracy`` what the last look at held-out points found.
    """

    meter: CellMeter
    plans: Sequence[CellPlan]
    draft_tokens: Sequence[int]
    seconds: float
    clock: Callable[[], float] = time.monotonic
    between: Sequence[CellPlan] = ()
    graph_sizes: tuple[int, ...] = ()
    records: dict[CellPlan, list[StepRecord]] = field(default_factory=dict, init=False)
    last_refusal: str | None = field(default=None, init=False)
    accuracy: Accuracy | None = field(default=None, init=False)
    _visits: dict[CellPlan, int] = field(default_factory=dict, init=False)
    _refusals: dict[CellPlan, int] = field(default_factory=dict, init=False)
    _took: dict[CellPlan, float] = field(default_factory=dict, init=False)
    _started: float = field(default=0.0, init=False)
    _prefill_rate: tuple[int, float] = field(default=(0, 0.0), init=False)
    _next_check: int = field(default=0, init=False)
    _left_out: bool = field(default=False, init=False)

    def run(self) -> None:
        """EngineError where the engine hangs or is gone; a cell that vLLM refuses is logged and passed over."""
        self._started = self.clock()
        while (plan := self._next()) is not None:
            self._report(plan)
            self._visit(plan)
        logger.info("%s after %.0f s", self.coverage(), self.clock() - self._started)

    def complete(self) -> list[CellPlan]:
        """Cells with enough clean steps of every K: those that a profile can hold."""
        return [plan for plan, seen in self.records.items() if self._is_complete(plan, seen)]

    def coverage(self) -> str:
        """How many of the planned cells were measured, and the batches at which none was: one short line of ASCII."""
        complete = [plan for plan in self.complete() if plan in set(self.plans)]
        missing = sorted({plan.batch for plan in self.plans} - {plan.batch for plan in complete})
        shown = ", ".join(str(batch) for batch in missing[:NAMED_BATCHES])
        more = f" and {len(missing) - NAMED_BATCHES} more" if len(missing) > NAMED_BATCHES else ""
        said = f"{len(complete)} of {len(self.plans)} cells"
        return f"{said}, none at batch {shown}{more}" if missing else said

    def ended_by(self) -> str:
        """Why no more was measured, with the accuracy that was reached: one short line of ASCII."""
        reached = self.accuracy is not None and self.accuracy.reached
        over = self._left_out or self.clock() >= self._deadline
        reason = "error target" if reached else "time" if over else "nothing left to measure"
        return f"ended by {reason}" + (f" ({self.accuracy})" if self.accuracy else "")

    def _is_complete(self, plan: CellPlan, seen: Sequence[StepRecord]) -> bool:
        return all(sum(is_clean(record, plan.batch, k) for record in seen) >= FEWEST_SAMPLES for k in self.draft_tokens)

    @property
    def _deadline(self) -> float:
        return self._started + self.seconds

    @property
    def _last(self) -> float:
        return self._started + 2 * self.seconds

    def _visit(self, plan: CellPlan) -> None:
        now = self.clock()
        slow = now + max(0.0, SHARE * (self._deadline - now))
        turn = self._visits.get(plan, 0)
        self._visits[plan] = turn + 1
        # Where a visit is a single round, the next one goes the other way.
        order = tuple(self.draft_tokens)[:: -1 if turn % 2 else 1]
        try:
            seen = self.meter.measure(plan, order, ROUNDS_PER_VISIT, slow=slow, last=self._last)
        except CellError as error:
            self.last_refusal = str(error)
            self._refusals[plan] = self._refusals.get(plan, 0) + 1
            if self._refusals[plan] >= MOST_REFUSALS:
                self._visits[plan] = MOST_VISITS
            logger.warning("batch %d, prompt %d tokens passed over: %s", plan.batch, plan.prompt_tokens, error)
            seen = list(error.records)
            if not seen:
                return
        self._took[plan] = self.clock() - now
        self.records.setdefault(plan, []).extend(seen)
        for record in seen:
            if record.interval_seconds is not None and record.prefill_tokens > self._prefill_rate[0]:
                self._prefill_rate = (record.prefill_tokens, record.interval_seconds / record.prefill_tokens)

    def _next(self) -> CellPlan | None:
        """The cell to measure now; None where the run is over."""
        complete = len(self.complete())
        if self.clock() >= (self._deadline if complete >= FEWEST_CELLS else self._last):
            return None
        unseen = [plan for plan in self.plans if not self._visits.get(plan)]
        unseen = [plan for plan in unseen if self._is_affordable(plan)]
        if len(self._visits) < COARSE_CELLS and unseen:
            return unseen[0]
        open_plans = unseen or [
            *(plan for plan in self.between if not self._visits.get(plan)),
            *(plan for plan, visits in self._visits.items() if visits < MOST_VISITS),
        ]
        try:
            surface, fit = survey(self.records, self.draft_tokens, self.graph_sizes)
        except (TooFewSamplesError, ImpossibleFitError, InvalidProfileError):
            return min(open_plans, key=lambda plan: self._visits.get(plan, 0), default=None)
        visits = sum(self._visits.values())
        if visits >= self._next_check:
            self._next_check = visits + CHECK_EVERY
            self.accuracy = held_out(surface, fit)
            if self.accuracy is not None and self.accuracy.reached:
                return None
        costs = {plan: self._cost(plan, surface) for plan in open_plans}
        left = self._deadline - self.clock()
        affordable = {plan: seconds for plan, seconds in costs.items() if seconds <= left or complete < FEWEST_CELLS}
        self._left_out = len(affordable) < len(costs)
        samples = [ROUNDS_PER_VISIT * steps for steps in block_steps(self.draft_tokens)]
        return most_worth(surface, affordable, self.draft_tokens, samples)

    def _is_affordable(self, plan: CellPlan) -> bool:
        """Always where no context is shorter: each batch needs one. Long ones wait until prefill has a known cost."""
        if plan.prompt_tokens <= min(other.prompt_tokens for other in self.plans):
            return True
        return 0 < self._prefill_seconds(plan) <= MOST_SHARE * self.seconds

    def _prefill_seconds(self, plan: CellPlan) -> float:
        return plan.batch * plan.prompt_tokens * self._prefill_rate[1]

    def _cost(self, plan: CellPlan, surface: Surface) -> float:
        """Seconds that a visit takes: what the last one took, else prefill and steps as predicted."""
        if plan in self._took:
            return max(self._took[plan], 1e-3)
        steps, _ = surface.predict(plan.batch, plan.prompt_tokens, self.draft_tokens)
        turns = [wanted + SETTLING_STEPS + 1 for wanted in block_steps(self.draft_tokens)]
        return self._prefill_seconds(plan) + ROUNDS_PER_VISIT * float(steps @ turns)

    def _report(self, plan: CellPlan) -> None:
        elapsed = self.clock() - self._started
        doing = f"visit {sum(self._visits.values()) + 1}: batch {plan.batch}, prompt {plan.prompt_tokens} tokens"
        logger.info("%s", progress(doing, elapsed, self.seconds, str(self.accuracy or "")))
