"""Steps at points that a profile has no cell for, measured again and again, against what the profile predicts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepRecord
from turbospec.profiling.evaluate import TooFewSamplesError, medians
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import CellError
from turbospec.profiling.sweep import CellMeter

POINTS = (
    CellPlan(1, 440, 192),
    CellPlan(5, 200, 160),
    CellPlan(7, 600, 192),
    CellPlan(11, 300, 192),
    CellPlan(13, 160, 128),
)
"""Batches and contexts beside and between those that profiling runs measure (powers of two and half way; 136, 1032)."""
ROUNDS = 2
FEWEST_REPEATS = 3
"""Below it nobody could tell noise from error."""

Point = tuple[int, int]
"""Batch and K."""


@dataclass(frozen=True, slots=True)
class Step:
    """The median step of one point in one repeat, and its mean context."""

    seconds: float
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Found:
    """Of one K: relative errors of the prediction, median and worst over points; the same of a repeat against others.

    ``ratio`` is the median error of T(K) / T(0), in which the machine's level cancels.
    """

    draft_tokens: int
    error: float
    worst: float
    noise: float
    ratio: float


def measure_repeats(
    meter: CellMeter, draft_tokens: Sequence[int], repeats: int, max_num_seqs: int, say: Callable[[str], None]
) -> list[dict[Point, Step]]:
    """All points in turn, ``repeats`` times: a machine that drifts does so within every point's repeats.

    On a busy machine single measurements fail: they are said and made up for, in twice as many turns at most.
    """
    plans = [plan for plan in POINTS if plan.batch <= max_num_seqs]
    found: list[dict[Point, Step]] = []
    for _ in range(2 * repeats):
        lacking = [plan for plan in plans if sum((plan.batch, draft_tokens[0]) in each for each in found) < repeats]
        if not lacking:
            break
        seen: dict[CellPlan, list[StepRecord]] = {}
        for plan in lacking:
            try:
                seen[plan] = meter.measure(plan, draft_tokens, ROUNDS, slow=math.inf, last=math.inf)
            except CellError as error:
                say(f"batch {plan.batch} once more: {error}")
        cells, _ = medians(seen, draft_tokens)
        found.append({(cell.batch, cell.draft_tokens): Step(cell.seconds, cell.context_tokens) for cell in cells})
    return found


def compare(model: LatencyModel, repeats: Sequence[Mapping[Point, Step]]) -> list[Found]:
    """The prediction against the median of the repeats, for each K; points with fewer than three are left out.

    Raises TooFewSamplesError where that leaves none.
    """
    by_point: dict[Point, list[Step]] = {}
    for repeat in repeats:
        for point, step in repeat.items():
            by_point.setdefault(point, []).append(step)
    known = {point: steps for point, steps in sorted(by_point.items()) if len(steps) >= FEWEST_REPEATS}
    if not known:
        raise TooFewSamplesError(f"no held-out point was measured {FEWEST_REPEATS} times: this machine is too busy")
    true = {point: median(step.seconds for step in steps) for point, steps in known.items()}
    predicted = {point: _predict(model, point, steps) for point, steps in known.items()}
    found = []
    for k in sorted({k for _, k in known}):
        batches = [batch for batch, width in known if width == k]
        errors = [abs(predicted[batch, k] / true[batch, k] - 1.0) for batch in batches]
        ratios = [
            abs(predicted[batch, k] / predicted[batch, 0] / (true[batch, k] / true[batch, 0]) - 1.0)
            for batch in batches
            if (batch, 0) in true
        ]
        noise = [
            abs(step.seconds / median(other.seconds for other in known[batch, k] if other is not step) - 1)
            for batch in batches
            for step in known[batch, k]
        ]
        found.append(Found(k, median(errors), max(errors), median(noise), median(ratios) if ratios else math.nan))
    return found


def _predict(model: LatencyModel, point: Point, steps: Sequence[Step]) -> float:
    batch, k = point
    context = median(step.context_tokens for step in steps)
    return model.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=batch * context)
