"""What the engine has lately been working on, beside the batch: context, prefill, waiting requests."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from turbospec.control.latency import LatencyModel
from turbospec.control.plan import Situation
from turbospec.control.step import StepRecord

SMOOTHING = 0.5
"""Weight of a block of twenty steps in the mean context and in the waiting requests: about forty steps of memory."""
PREFILL_KEEP = 0.95
"""Weight that sums over prefill keep per block: it comes in lumps, so it takes hundreds of steps to know its rate."""
CONTEXT_MOVED = 0.1
"""Relative change of the mean context that makes a new table due: KV reading is rarely more than half of a step."""
PREFILL_MOVED = 0.3
"""The same for prefill tokens per delivered token: they only decide which graph a step runs in."""
OTHER_LOAD_OCTAVES = 0.5
"""Change of the batch from which on prefill is counted anew."""
SHARE_MOVED = 0.06
"""Change of the share of steps with prefill that does so where there are graphs: those steps may leave them. Eager ones
are 10-40% dearer, so this is worth up to 2%; 600 steps of memory know it to 0.02."""
LEAST_RATIO = 0.05
"""Prefill tokens per delivered token that matter to no table."""
PREFILL_SIZES = 3
"""How many a table is averaged over."""
SIZES_KEPT = 256
"""Steps with prefill whose prefill tokens are kept: a share of half of them is known to 0.03."""
LIFE_STEPS = 256.0
"""Ceilings hold over a request's life, which is hundreds of steps: prefill that has filled the first few of an engine
counts by its part of so many."""
DEFAULT_CONTEXT = 512.0
"""Where neither a step nor a profile says what contexts are like."""


class SituationMonitor:
    """Smooths what blocks of steps show. Not thread-safe."""

    def __init__(self) -> None:
        self._context: float | None = None
        self._waiting = 0.0
        # Fading sums, so that rates are ratios of sums: steps, steps with prefill, prefill tokens, delivered tokens.
        self._steps = self._prefills = self._prefill_tokens = self._generated = 0.0
        self._seen = 0.0
        self._sizes: deque[int] = deque(maxlen=SIZES_KEPT)
        self._batch: float | None = None
        self._least, self._most = 0, 0

    def learn(self, records: Sequence[StepRecord]) -> float:
        """Take in a block; returns the seconds its steps took, as far as they are known."""
        passed, steps, decodes, kv, plain, waiting, generated = 0.0, 0, 0, 0, 0, 0, 0
        least, most, prefills = 1 << 30, 0, []
        for record in records:
            passed += record.interval_seconds or 0.0
            waiting += record.waiting
            batch = record.decodes
            if not batch:
                # Whatever prefill it holds, no K has a part in it.
                continue
            steps += 1
            decodes += batch
            generated += record.generated_tokens
            least, most = min(least, batch), max(most, batch)
            if record.prefill_tokens:
                prefills.append(record.prefill_tokens)
            else:
                plain += batch
                kv += record.kv_tokens
        if plain:
            context = kv / plain
            self._context = context if self._context is None else self._context + SMOOTHING * (context - self._context)
        if steps:
            self._least, self._most = least, most
            self._learn_prefill(prefills, steps, max(generated, 0), decodes / steps)
        self._waiting += SMOOTHING * (waiting / len(records) - self._waiting)
        return passed

    def situation(
        self, model: LatencyModel | None, per_prefill_token: float, planned: Situation | None = None
    ) -> Situation:
        """What to plan for; before the first step, the middle of what was profiled.

        Prefill is taken as it was ``planned`` with before, as long as it has not moved: hundreds of steps know it to a
        tenth only, and where steps just fit into a graph that much would change the table for ever.
        """
        context = self._context
        if context is None:
            measured = [cell.context_tokens for cell in model.cells] if model is not None else []
            context = float(np.median(measured)) if measured else DEFAULT_CONTEXT
        if self._prefills <= 0.0:
            return Situation(context, waiting=self._waiting)
        seconds = self._prefill_tokens / self._steps * per_prefill_token * min(1.0, self._seen / LIFE_STEPS)
        if planned is not None and not self._prefill_moved(planned, graphs=True):
            return replace(planned, context_tokens=context, waiting=self._waiting, prefill_seconds=seconds)
        return Situation(
            context, self._lump(), self._prefill_sizes(), self._ratio(), seconds, self._waiting, self._share()
        )

    def moved(self, planned: Situation, *, graphs: bool) -> bool:
        """Whether a table made for that situation is out of date; with ``graphs`` prefill decides what runs in them."""
        if self._context is not None and abs(self._context - planned.context_tokens) > CONTEXT_MOVED * max(
            planned.context_tokens, 1.0
        ):
            return True
        return self._prefill_moved(planned, graphs=graphs)

    def batches(self, most: int) -> tuple[int, int]:
        """Batches that may soon be in use, within 1..most: those of the last block and a quarter beyond; (1, 0), which
        holds none, before the first."""
        if not self._most:
            return 1, 0
        return max(1, min(self._least * 3 // 4, most)), min(self._most * 5 // 4, most)

    def _learn_prefill(self, prefills: Sequence[int], steps: int, generated: int, batch: float) -> None:
        keep = PREFILL_KEEP
        if self._batch is None or abs(math.log2(batch / self._batch)) > OTHER_LOAD_OCTAVES:
            # Another load: above all the prompts of many clients that begin together say nothing of those that follow.
            keep, self._batch = 0.0, batch
            self._sizes.clear()
        self._batch += SMOOTHING * (batch - self._batch)
        self._sizes.extend(prefills)
        self._seen += steps
        self._steps = keep * self._steps + steps
        self._prefills = keep * self._prefills + len(prefills)
        self._prefill_tokens = keep * self._prefill_tokens + sum(prefills)
        self._generated = keep * self._generated + generated

    def _prefill_sizes(self) -> tuple[float, ...]:
        """The middles of equal parts of what the last steps with prefill held."""
        seen, count = sorted(self._sizes), len(self._sizes)
        return tuple(float(seen[(2 * i + 1) * count // (2 * PREFILL_SIZES)]) for i in range(PREFILL_SIZES))

    def _lump(self) -> float:
        """Requests come at random: prefill arrives in lumps, a step holds 0, 1, 2... of them (Poisson)."""
        lumps = -math.log(1.0 - min(self._share(), 0.99))
        return self._prefill_tokens / self._steps / lumps

    def _prefill_moved(self, planned: Situation, *, graphs: bool) -> bool:
        if abs(self._ratio() - planned.prefill_ratio) > PREFILL_MOVED * max(planned.prefill_ratio, LEAST_RATIO):
            return True
        if not graphs:
            return False
        lump = self._lump() if self._prefills > 0.0 else 0.0
        return (
            abs(self._share() - planned.prefill_share) > SHARE_MOVED
            or abs(lump - planned.prefill_lump) > PREFILL_MOVED * planned.prefill_lump
        )

    def _share(self) -> float:
        return self._prefills / self._steps if self._steps else 0.0

    def _ratio(self) -> float:
        return self._prefill_tokens / max(self._generated, 1.0)
