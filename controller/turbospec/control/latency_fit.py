"""The fitted step time: six non-negative costs, found by least squares on relative errors."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REWEIGHTING_PASSES = 8
"""Passes after which the weights of measured profiles no longer move; found by trying."""
OUTLIER_LOG = 0.3
"""Distance of log(measured / fitted) at which a sample counts half: beyond what graph sizes and caches explain."""
RIDGE = 1e-9
"""Splits a cost evenly between columns that the data cannot tell apart; too small to move any other coefficient."""
WORST_MEDIAN_ERROR = 0.5
"""A fit that misses half of its own measurements by more than this explains nothing; the paper's form reaches 0.19."""


class ImpossibleFitError(ValueError):
    """The samples allow no fit; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class StepSample:
    """One measured engine step (or the median of several equal ones; ``weight`` then counts them)."""

    decodes: float
    """A mean where several steps are taken together."""
    draft_tokens: int
    """K asked for; of its size only whether it is 0 counts."""
    verified_draft_tokens: float
    """Draft tokens verified, all requests together; below ``decodes * draft_tokens`` where the drafter yields less."""
    prefill_tokens: int
    kv_tokens: float
    seconds: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FitCoefficients:
    """Seconds per unit, none negative.

    step = per_step + per_batched_token * (decodes + drafted + prefill tokens) + per_kv_token * KV tokens
    + [K > 0] * per_drafting_step + drafted / decodes * per_draft_pass + drafted * per_draft_token,

    where drafted are the draft tokens verified, K * decodes where every draft is full. These are the target, draft and
    overhead terms of arXiv 2406.14066 in one linear form; the cost of drafting at all is ours. Drafts are charged as
    found, not as asked for: drafters that find few tokens (ngram, suffix) make no passes for those they lack.
    """

    per_step: float
    per_batched_token: float
    per_kv_token: float
    per_drafting_step: float
    per_draft_pass: float
    per_draft_token: float

    def seconds(self, sample: StepSample) -> float:
        """The fitted duration of the sample's step, in seconds."""
        return float(features([sample])[0] @ np.array(astuple(self)))


def features(samples: Sequence[StepSample]) -> Floats:
    """One row per sample, one column per coefficient, in the order of ``FitCoefficients``."""
    return np.array(
        [
            (
                1.0,
                sample.decodes + sample.verified_draft_tokens + sample.prefill_tokens,
                sample.kv_tokens,
                float(sample.draft_tokens > 0),
                sample.verified_draft_tokens / max(sample.decodes, 1),
                sample.verified_draft_tokens,
            )
            for sample in samples
        ],
        dtype=np.float64,
    ).reshape(-1, 6)


def fit_latency(samples: Sequence[StepSample]) -> FitCoefficients:
    """Fit the six costs to measured steps.

    Relative errors are minimised, so that a batch of one counts as much as a batch of 256, by least squares reweighted
    until a measurement far from the fit, long or short, no longer counts (Cauchy's weights on log(measured / fitted)).
    Raises ImpossibleFitError for fewer than three different compositions, for impossible values, and for times that do
    not follow the work.
    """
    for sample in samples:
        _check(sample)
    if len({(s.decodes, s.draft_tokens, s.verified_draft_tokens, s.prefill_tokens, s.kv_tokens) for s in samples}) < 3:
        raise ImpossibleFitError("at least three different step compositions are needed for a fit")
    rows = features(samples)
    seconds = np.array([sample.seconds for sample in samples])
    root_weights = np.sqrt([sample.weight for sample in samples])
    # A quarter of the median: before there is a prediction, an absurdly short time must not outweigh all the others.
    scale = np.maximum(seconds, 0.25 * float(np.median(seconds)))
    coefficients = np.zeros(rows.shape[1])
    for _ in range(REWEIGHTING_PASSES):
        weights = root_weights / scale
        coefficients = non_negative_least_squares(rows * weights[:, None], seconds * weights)
        fitted = rows @ coefficients
        surprise = np.log(seconds / np.maximum(fitted, 1e-12)) / OUTLIER_LOG
        scale = np.maximum(seconds, fitted) * np.sqrt(1.0 + surprise**2)
    error = float(np.median(np.abs(rows @ coefficients / seconds - 1.0)))
    if not error <= WORST_MEDIAN_ERROR:
        raise ImpossibleFitError(f"step times do not follow the work: the best fit is off by a median of {error:.0%}")
    return FitCoefficients(*(float(value) for value in coefficients))


def hold_out_error(samples: Sequence[StepSample]) -> float:
    """Median relative error of the fit on compositions it has not seen.

    Whole cells (equal batch, K and prefill, like context) are left out at a time: leaving out single steps would test
    on near copies of what was fitted. Raises ImpossibleFitError where no cell can be left out.
    """
    cells: dict[tuple[int, ...], list[StepSample]] = {}
    for sample in samples:
        _check(sample)
        cells.setdefault(_cell(sample), []).append(sample)
    errors: list[float] = []
    reason = "at least two cells are needed to hold one out"
    for held_out, unseen in cells.items():
        try:
            fit = fit_latency([s for cell, members in cells.items() if cell != held_out for s in members])
        except ImpossibleFitError as error:
            reason = str(error)
            continue
        errors.extend(abs(fit.seconds(sample) / sample.seconds - 1.0) for sample in unseen)
    if not errors:
        raise ImpossibleFitError(reason)
    return float(np.median(errors))


def non_negative_least_squares(matrix: Floats, target: Floats) -> Floats:
    """The x >= 0 that minimises ``|matrix @ x - target|`` (Lawson and Hanson 1974, chapter 23).

    Columns are scaled to unit length first (they differ by 1e8 here); all-zero columns get 0.
    """
    norms = np.linalg.norm(matrix, axis=0)
    norms[norms == 0] = 1.0
    scaled = matrix / norms
    columns = scaled.shape[1]
    gram = scaled.T @ scaled + RIDGE * np.eye(columns)
    moment = scaled.T @ target
    solution = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    tolerance = 1e-10 * max(1.0, float(np.abs(moment).max(initial=0.0)))
    for _ in range(3 * columns):
        gradient = moment - gram @ solution
        candidates = np.where(free, -np.inf, gradient)
        if candidates.max() <= tolerance:
            break
        free[int(candidates.argmax())] = True
        while True:
            trial = np.zeros(columns)
            trial[free] = np.linalg.solve(gram[np.ix_(free, free)], moment[free])
            falling = free & (trial <= 0)
            if not falling.any():
                solution = trial
                break
            step = np.min(solution[falling] / (solution[falling] - trial[falling]))
            solution = solution + step * (trial - solution)
            free &= solution > 1e-14
            solution[~free] = 0.0
    return np.asarray(solution / norms, dtype=np.float64)


def _check(sample: StepSample) -> None:
    counts = (
        sample.decodes,
        sample.draft_tokens,
        sample.verified_draft_tokens,
        sample.prefill_tokens,
        sample.kv_tokens,
    )
    where = f"step with {sample.decodes} decodes at K={sample.draft_tokens}"
    if not (math.isfinite(sample.seconds) and sample.seconds > 0):
        raise ImpossibleFitError(f"{where}: took {sample.seconds} s, which is not a positive time")
    if not all(math.isfinite(count) and count >= 0 for count in counts):
        raise ImpossibleFitError(f"{where}: has a negative or infinite count")
    if not (math.isfinite(sample.weight) and sample.weight > 0):
        raise ImpossibleFitError(f"{where}: has weight {sample.weight}, which is not positive")


def _cell(sample: StepSample) -> tuple[int, ...]:
    """Steps of one cell: contexts within a factor of about 1.4 of each other count as alike."""
    context = sample.kv_tokens / max(sample.decodes, 1)
    return (round(sample.decodes), sample.draft_tokens, sample.prefill_tokens, round(2 * math.log2(1 + context)))
