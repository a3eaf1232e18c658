"""The gain as an interval: what is not known, moved to both of its ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from turbospec.advise.replay import Assumptions, Replay
from turbospec.control.acceptance import SHAPE_SPREAD

COVERAGE = 0.9
"""Share of fleets whose truth lies in the interval: asked for, and measured (docs/advise.md)."""
SIGMAS = 1.645
"""Standard deviations to either side that hold this share of a normal distribution."""
CONTEXT_FACTOR = 1.3
"""What is known of contexts are the mean lengths of requests, not how they come together."""
PREFILL_FACTOR = 1.5
"""Prefill is priced as batched tokens are; attention over long prompts costs more, memory-bound steps less."""
OVERHEAD = (0.02, -0.005)
"""What looking at other K, learning and staying with a K cost of goodput against the best K known: docs/benchmarks.md
has 2% as the worst and 0.1% as the mean; a negative cost is the luck of a noisy comparison."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Relative gain in tokens per second of running requests: 0.1 is 10% more."""

    low: float
    high: float


def gain_interval(replay: Replay, error: float) -> Interval:
    """``error``: by what share steps at another K than the one that ran may be off.

    Each thing that is not known is moved alone; what they move adds up as independent errors do.

    What no text tells (acceptance beyond the drafts that ran, whether clients wait) is not a matter of chance: the
    interval spans both ends of it.
    """
    lows, highs = [], []
    for deeper in (_none_deeper, _best_deeper):
        base = Assumptions(deeper=deeper)
        moved = [
            *(replace(base, acceptance_sigmas=sigmas) for sigmas in (-SIGMAS, SIGMAS)),
            *(replace(base, step_time_error=share) for share in (-error, error)),
            *(replace(base, context_factor=factor) for factor in (1.0 / CONTEXT_FACTOR, CONTEXT_FACTOR)),
            *(replace(base, prefill_factor=factor) for factor in (1.0 / PREFILL_FACTOR, PREFILL_FACTOR)),
        ]
        central = replay.evaluate(base)
        found = [replay.evaluate(assumptions) for assumptions in moved]
        for name in ("same_requests", "same_arrivals"):
            middle, around = getattr(central, name), [getattr(each, name) for each in found]
            if middle <= 0.0:  # no batch keeps up with what came
                lows.append(-1.0)
                highs.append(max(around) - 1.0)
                continue
            changes = [each / middle - 1.0 for each in around]
            lows.append(middle * (1.0 - math.hypot(OVERHEAD[0], *(min(change, 0.0) for change in changes))) - 1.0)
            highs.append(middle * (1.0 + math.hypot(OVERHEAD[1], *(max(change, 0.0) for change in changes))) - 1.0)
    return Interval(min(lows), max(highs))


def _none_deeper(_seen: Sequence[float]) -> float:
    return 0.0


def _best_deeper(seen: Sequence[float]) -> float:
    """As the best position that was drafted, and better by what texts differ in shape."""
    best = min(max(seen), 1.0 - 1e-6)
    odds = best / (1.0 - best) * math.exp(SHAPE_SPREAD)
    return odds / (1.0 + odds)
