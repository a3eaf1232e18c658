"""What the engine has lately been working on, beside the batch: context, prefill, waiting requests."""

import math
from collections.abc import Sequence

import numpy as np

from turbospec.control.latency import LatencyModel
from turbospec.control.plan import Situation
from turbospec.control.step import StepRecord

SMOOTHING = 0.5
"""Weight of a block of twenty steps in the mean context and in the waiting requests: about forty steps of memory."""
PREFILL_KEEP = 0.9
"""Weight that sums over prefill keep per block: it comes in lumps, so it takes hundreds of steps to know its rate."""
CONTEXT_MOVED = 0.1
"""Relative change of the mean context that makes a new table due: KV reading is rarely more than half of a step."""
PREFILL_MOVED = 0.3
"""The same for prefill tokens per delivered token: they only decide which graph a step runs in."""
SHARE_MOVED = 0.05
"""Change of the share of steps with prefill that does so where there are graphs: those steps may leave them. Eager ones
are 10-40% dearer, so this is worth up to 2%; 300 steps of memory know it to 0.03."""
LEAST_RATIO = 0.05
"""Prefill tokens per delivered token that matter to no table."""
DEFAULT_CONTEXT = 512.0
"""Where neither a step nor a profile says what contexts are like."""


class SituationMonitor:
    """Smooths what blocks of steps show. Not thread-safe."""

    def __init__(self) -> None:
        self._context: float | None = None
        self._waiting = 0.0
        # Fading sums, so that rates are ratios of sums: steps, steps with prefill, prefill tokens, delivered tokens.
        self._steps = self._prefills = self._prefill_tokens = self._generated = 0.0
        self._least, self._most = 0, 0

    def learn(self, records: Sequence[StepRecord]) -> float:
        """Take in a block; returns the seconds its steps took, as far as they are known."""
        passed, decodes, kv, prefills, prefill, waiting, generated = 0.0, 0, 0, 0, 0, 0, 0
        least, most = 1 << 30, 0
        for record in records:
            passed += record.interval_seconds or 0.0
            waiting += record.waiting
            generated += record.generated_tokens
            batch = record.decodes
            if record.prefill_tokens:
                prefills += 1
                prefill += record.prefill_tokens
            elif batch:
                decodes += batch
                kv += record.kv_tokens
            if batch:
                least, most = min(least, batch), max(most, batch)
        steps = len(records)
        if decodes:
            context = kv / decodes
            self._context = context if self._context is None else self._context + SMOOTHING * (context - self._context)
        self._steps = PREFILL_KEEP * self._steps + steps
        self._prefills = PREFILL_KEEP * self._prefills + prefills
        self._prefill_tokens = PREFILL_KEEP * self._prefill_tokens + prefill
        self._generated = PREFILL_KEEP * self._generated + max(generated, 0)
        self._waiting += SMOOTHING * (waiting / steps - self._waiting)
        if most:
            self._least, self._most = least, most
        return passed

    def situation(self, model: LatencyModel | None, per_prefill_token: float) -> Situation:
        """What to plan for; before the first step, the middle of what was profiled."""
        context = self._context
        if context is None:
            measured = [cell.context_tokens for cell in model.cells] if model is not None else []
            context = float(np.median(measured)) if measured else DEFAULT_CONTEXT
        if self._prefills <= 0.0:
            return Situation(context, waiting=self._waiting)
        per_step = self._prefill_tokens / self._steps
        # Requests come at random: prefill arrives in lumps, a step holds 0, 1, 2... of them (Poisson).
        share = self._share()
        lumps = -math.log(1.0 - min(share, 0.99))
        return Situation(context, per_step / lumps, self._ratio(), per_step * per_prefill_token, self._waiting, share)

    def moved(self, planned: Situation, *, graphs: bool) -> bool:
        """Whether a table made for that situation is out of date; with ``graphs`` prefill decides what runs in them."""
        if graphs and abs(self._share() - planned.prefill_share) > SHARE_MOVED:
            return True
        if self._context is not None and abs(self._context - planned.context_tokens) > CONTEXT_MOVED * max(
            planned.context_tokens, 1.0
        ):
            return True
        return abs(self._ratio() - planned.prefill_ratio) > PREFILL_MOVED * max(planned.prefill_ratio, LEAST_RATIO)

    def batches(self, most: int) -> tuple[int, int]:
        """Batches that may soon be in use, within 1..most: those of the last block and a quarter beyond; (1, 0), which
        holds none, before the first."""
        if not self._most:
            return 1, 0
        return max(1, min(self._least * 3 // 4, most)), min(self._most * 5 // 4, most)

    def _share(self) -> float:
        return self._prefills / self._steps if self._steps else 0.0

    def _ratio(self) -> float:
        return self._prefill_tokens / max(self._generated, 1.0)
