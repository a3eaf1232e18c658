"""From step records to a latency profile. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from turbospec.control.latency import (
    FitCoefficients,
    ImpossibleFitError,
    LatencyModel,
    MeasuredCell,
    StepSample,
    build_latency_model,
    fit_latency,
    hold_out_error,
)
from turbospec.control.step import StepRecord
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import is_clean

OUTLIER_FACTOR = 1.5
"""Steps longer than this many times their cell's lower quartile were held up by something else (another process,
garbage collection) and do not count. The quartile, not the median: on a busy machine most steps are held up. Only long
ones: nothing makes a step shorter than its work. Ordinary noise (20% at worst, on two shared cores) stays."""
FEWEST_SAMPLES = 3
"""Steps below which a median says nothing."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the run found out. ``hold_out_error`` is the median relative error of the fit on cells it has not seen."""

    model: LatencyModel
    hold_out_error: float


class TooFewSamplesError(ValueError):
    """The run saw too few usable steps; the message says of what."""


def evaluate(records: Mapping[CellPlan, Sequence[StepRecord]], draft_tokens: Sequence[int]) -> Profile:
    """Cells, fit and hold-out error from all that was recorded in each cell of the plan.

    The cell's time is the median over its clean steps, without outliers. A first fit over these medians then serves to
    scale each step from its own composition to its cell's (full drafts, mean context), and medians are taken again. A
    cell in which some K has fewer than three steps is left out whole, so that K are always compared at equal batch and
    context. Raises TooFewSamplesError, or ImpossibleFitError or InvalidProfileError of ``turbospec.control.latency``.
    """
    rough = [cell for plan, seen in records.items() for cell in _cells(plan, seen, draft_tokens, None)]
    if not rough:
        raise TooFewSamplesError(
            f"no cell has {FEWEST_SAMPLES} clean steps for each K of {', '.join(map(str, draft_tokens))}: "
            "the run was too short, or the drafter proposes almost nothing"
        )
    scale = fit_latency([cell.sample() for cell in rough])
    cells = [cell for plan, seen in records.items() for cell in _cells(plan, seen, draft_tokens, scale)]
    medians = [replace(cell.sample(), weight=cell.samples) for cell in cells]
    prefills = [sample for seen in records.values() for sample in _samples(seen) if sample.prefill_tokens]
    fit = fit_latency([*medians, *prefills])
    try:
        error = hold_out_error(medians)
    except ImpossibleFitError as reason:
        raise TooFewSamplesError(f"too few cells were measured to check the fit: {reason}") from reason
    return Profile(build_latency_model(cells, fit), error)


def without_outliers(seconds: Sequence[float]) -> list[float]:
    """The durations that are no hiccups; never empty."""
    quartile = sorted(seconds)[len(seconds) // 4]
    return [value for value in seconds if value <= OUTLIER_FACTOR * quartile]


def _samples(records: Iterable[StepRecord]) -> list[StepSample]:
    """What the fit learns from: every timed step in which K was settled, full drafts or not."""
    return [
        StepSample(
            decodes=record.decodes,
            draft_tokens=record.interval_draft_tokens,
            verified_draft_tokens=record.verified_draft_tokens,
            prefill_tokens=record.prefill_tokens,
            kv_tokens=record.kv_tokens,
            seconds=record.interval_seconds,
        )
        for record in records
        if record.interval_seconds is not None and record.decided_draft_tokens == record.interval_draft_tokens
    ]


def _cells(
    plan: CellPlan, records: Sequence[StepRecord], draft_tokens: Sequence[int], fit: FitCoefficients | None
) -> list[MeasuredCell]:
    """One cell per K at the plan's batch and the mean context seen; none where a K has too few steps.

    Without a fit the steps are taken as they are.
    """
    clean = {k: [record for record in records if is_clean(record, plan.batch, k)] for k in draft_tokens}
    if any(len(steps) < FEWEST_SAMPLES for steps in clean.values()):
        return []
    context = fmean(record.kv_tokens / plan.batch for steps in clean.values() for record in steps)
    cells = []
    for k, steps in clean.items():
        cell = MeasuredCell(plan.batch, round(context), k, prefill_tokens=0, seconds=1.0, samples=len(steps))
        seconds = [sample.seconds for sample in _samples(steps)]
        if fit is not None:
            nominal = fit.seconds(cell.sample())
            seconds = [sample.seconds * nominal / fit.seconds(sample) for sample in _samples(steps)]
        kept = without_outliers(seconds)
        cells.append(replace(cell, seconds=median(kept), samples=len(kept)))
    return cells
