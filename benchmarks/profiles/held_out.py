"""Steps at points that a profile has no cell for, measured again and again, against what the profile predicts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from turbospec.control.latency import LatencyModel
from turbospec.profiling.evaluate import medians
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import Meter

POINTS = (
    CellPlan(1, 440, 192),
    CellPlan(5, 200, 160),
    CellPlan(7, 600, 192),
    CellPlan(11, 300, 192),
    CellPlan(13, 160, 128),
)
"""Batches and contexts beside and between those that profiling runs measure (powers of two and half way; 136, 1032)."""
ROUNDS = 2

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


def measure_repeats(meter: Meter, draft_tokens: Sequence[int], repeats: int) -> list[dict[Point, Step]]:
    """All points in turn, ``repeats`` times: a machine that drifts does so within every point's repeats."""
    found = []
    for _ in range(repeats):
        seen = {
            plan: meter.measure(plan, draft_tokens, ROUNDS, slow=math.inf, last=math.inf)
            for plan in POINTS
            if plan.batch <= meter.max_num_seqs
        }
        cells, _ = medians(seen, draft_tokens)
        found.append({(cell.batch, cell.draft_tokens): Step(cell.seconds, cell.context_tokens) for cell in cells})
    return found


def compare(model: LatencyModel, repeats: Sequence[Mapping[Point, Step]]) -> list[Found]:
    """The prediction against the median of the repeats, for each K; points that lack a repeat are left out."""
    points = sorted(set.intersection(*(set(repeat) for repeat in repeats)))
    true = {point: median(repeat[point].seconds for repeat in repeats) for point in points}
    predicted = {point: _predict(model, point, [repeat[point] for repeat in repeats]) for point in points}
    found = []
    for k in sorted({k for _, k in points}):
        batches = [batch for batch, width in points if width == k]
        errors = [abs(predicted[batch, k] / true[batch, k] - 1.0) for batch in batches]
        ratios = [
            abs(predicted[batch, k] / predicted[batch, 0] / (true[batch, k] / true[batch, 0]) - 1.0)
            for batch in batches
            if (batch, 0) in true
        ]
        noise = [
            abs(
                repeat[batch, k].seconds / median(other[batch, k].seconds for other in repeats if other is not repeat)
                - 1
            )
            for batch in batches
            for repeat in repeats
        ]
        found.append(Found(k, median(errors), max(errors), median(noise), median(ratios) if ratios else math.nan))
    return found


def _predict(model: LatencyModel, point: Point, steps: Sequence[Step]) -> float:
    batch, k = point
    context = median(step.context_tokens for step in steps)
    return model.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=batch * context)
