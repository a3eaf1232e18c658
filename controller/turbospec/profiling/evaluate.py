"""From step records to a latency profile. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

import numpy as np

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
from turbospec.profiling.accuracy import Accuracy, held_out
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import FULL_WIDTH, is_clean, is_pure_decode
from turbospec.profiling.surface import Surface, build_surface

OUTLIER_FACTOR = 1.5
"""Steps longer than this many times their cell's lower quartile were held up by something else (another process,
garbage collection) and do not count. The quartile, not the median: on a busy machine most steps are held up. Only long
ones: nothing makes a step shorter than its work. Ordinary noise (20% at worst, on two shared cores) stays."""
FEWEST_SAMPLES = 3
"""Steps below which a median says nothing."""


WIDTHS = (FULL_WIDTH, 0.5, 0.2)
"""Shares of full drafts that steps must have, tried in this order; profiles that grow while serving take the last."""
FEWEST_POINTS = 4
"""Cells that a fit needs to be checked."""
LEAST_NOISE = 0.002
"""Relative standard deviation of a step below which no real engine is known."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the run found out. ``hold_out_error`` is the median relative error of the fit on cells it has not seen.

    ``accuracy`` judges the choice of K on points that were held out; None where too few can be. ``width`` is the share
    of full drafts that steps had at least: below ``FULL_WIDTH`` the fit had to scale them far.
    """

    model: LatencyModel
    hold_out_error: float
    accuracy: Accuracy | None
    width: float = FULL_WIDTH


class TooFewSamplesError(ValueError):
    """The run saw too few usable steps; the message says of what."""


def evaluate(
    records: Mapping[CellPlan, Sequence[StepRecord]], draft_tokens: Sequence[int], graph_sizes: Sequence[int] = ()
) -> Profile:
    """Cells, fit and hold-out errors from all that was recorded in each cell of the plan.

    The cell's time is the pseudo-median over its clean steps, without outliers. A first fit over these then serves to
    scale each step from its own composition to its cell's (full drafts, mean context), and pseudo-medians are taken
    again. A cell in which some K has fewer than three steps is left out whole, so that K are always compared at equal
    batch and context. Where that leaves too few cells, because the run was slow or the drafter found little, steps with
    fewer of their drafts count too (``WIDTHS``). Last, they lose what neighbouring cells say is noise
    (``turbospec.profiling.surface``).
    Raises TooFewSamplesError, or ImpossibleFitError or InvalidProfileError of ``turbospec.control.latency``.
    """
    width, (cells, noise) = _widest(records, draft_tokens)
    if not cells:
        raise TooFewSamplesError(
            f"no cell has {FEWEST_SAMPLES} clean steps for each K of {', '.join(map(str, draft_tokens))}: "
            f"the run was too short, or the drafter proposes almost nothing{_nearest(records, draft_tokens)}"
        )
    samples = [replace(cell.sample(), weight=cell.samples) for cell in cells]
    prefills = [sample for seen in records.values() for sample in _samples(seen) if sample.prefill_tokens]
    fit = fit_latency([*samples, *prefills])
    try:
        error = hold_out_error(samples)
    except ImpossibleFitError as reason:
        raise TooFewSamplesError(f"too few cells were measured to check the fit: {reason}") from reason
    surface = _surface(build_latency_model(cells, fit), noise, graph_sizes)
    return Profile(build_latency_model(surface.smoothed(), fit), error, held_out(surface, fit), width)


def survey(
    records: Mapping[CellPlan, Sequence[StepRecord]], draft_tokens: Sequence[int], graph_sizes: Sequence[int] = ()
) -> tuple[Surface, FitCoefficients]:
    """What is known so far, and the fit behind it, from the cells alone: fast enough to be asked after every cell.

    Raises as ``evaluate`` does.
    """
    cells, noise = medians(records, draft_tokens)
    if not cells:
        raise TooFewSamplesError("no cell is complete yet")
    fit = fit_latency([replace(cell.sample(), weight=cell.samples) for cell in cells])
    return _surface(build_latency_model(cells, fit), noise, graph_sizes), fit


def _widest(
    records: Mapping[CellPlan, Sequence[StepRecord]], draft_tokens: Sequence[int]
) -> tuple[float, tuple[list[MeasuredCell], float]]:
    """The medians of the largest width that leaves enough cells; where none does, those of full drafts."""
    found = {width: medians(records, draft_tokens, width) for width in WIDTHS}
    counts = {width: len({(cell.batch, cell.context_tokens) for cell in cells}) for width, (cells, _) in found.items()}
    width = next((width for width in WIDTHS if counts[width] >= FEWEST_POINTS), FULL_WIDTH)
    return width, found[width]


def medians(
    records: Mapping[CellPlan, Sequence[StepRecord]], draft_tokens: Sequence[int], width: float = FULL_WIDTH
) -> tuple[list[MeasuredCell], float]:
    """The complete cells, as ``evaluate`` says, and the relative standard deviation of one step in them."""
    rough = [cell for plan, seen in records.items() for cell in _cells(plan, seen, draft_tokens, None, width)[0]]
    if not rough:
        return [], 0.0
    if width < FULL_WIDTH:
        # Medians of half drafts would pass for those of full ones: the steps themselves say what they verified.
        complete = {cell.batch for cell in rough}
        steps = [step for plan, seen in records.items() if plan.batch in complete for step in _samples(seen)]
        scale = fit_latency([step for step in steps if not step.prefill_tokens])
    else:
        scale = fit_latency([cell.sample() for cell in rough])
    found = [_cells(plan, seen, draft_tokens, scale, width) for plan, seen in records.items()]
    squares = sum(spread**2 * count for _, spreads in found for spread, count in spreads)
    freedom = sum(count - 1 for _, spreads in found for _, count in spreads)
    return [cell for cells, _ in found for cell in cells], max(LEAST_NOISE, math.sqrt(squares / max(freedom, 1)))


def _nearest(records: Mapping[CellPlan, Sequence[StepRecord]], draft_tokens: Sequence[int]) -> str:
    """What was seen in the cell that lacks least: whether steps were missing, or the drafts in them."""
    seen = [
        (plan, [sum(is_clean(step, plan.batch, k) for step in steps) for k in draft_tokens], steps)
        for plan, steps in records.items()
    ]
    if not seen:
        return " (no step was seen)"
    plan, clean, steps = max(seen, key=lambda each: sum(min(count, FEWEST_SAMPLES) for count in each[1]))
    pure = [step.interval_draft_tokens for step in steps if is_pure_decode(step, plan.batch)]
    counts = ", ".join(f"{count}/{pure.count(k)} at K={k}" for k, count in zip(draft_tokens, clean, strict=True))
    return f" (nearest: batch {plan.batch}, prompt {plan.prompt_tokens}: clean of all its steps {counts})"


def _surface(model: LatencyModel, noise: float, graph_sizes: Sequence[int]) -> Surface:
    return build_surface(model.cells, model.refined(tuple(graph_sizes)), noise)


def without_outliers(seconds: Sequence[float]) -> list[float]:
    """The durations that are no hiccups; never empty."""
    quartile = sorted(seconds)[len(seconds) // 4]
    return [value for value in seconds if value <= OUTLIER_FACTOR * quartile]


def pseudo_median(values: Sequence[float]) -> float:
    """The median of the means of all pairs, each value with itself as well (Hodges and Lehmann 1963); at least one.

    As little moved by what is far off as a median almost, and of normal values it has a third less variance.
    """
    first, second = np.triu_indices(len(values))
    found = np.array(values)
    return float(np.median(found[first] + found[second])) / 2.0


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
    plan: CellPlan,
    records: Sequence[StepRecord],
    draft_tokens: Sequence[int],
    fit: FitCoefficients | None,
    width: float,
) -> tuple[list[MeasuredCell], list[tuple[float, int]]]:
    """One cell per K at the plan's batch and the mean context seen, and the relative spread of each one's steps.

    None where a K has too few steps. Without a fit the steps are taken as they are.
    """
    clean = {k: [record for record in records if is_clean(record, plan.batch, k, width)] for k in draft_tokens}
    if any(len(steps) < FEWEST_SAMPLES for steps in clean.values()):
        return [], []
    context = fmean(record.kv_tokens / plan.batch for steps in clean.values() for record in steps)
    cells, spreads = [], []
    for k, steps in clean.items():
        cell = MeasuredCell(plan.batch, round(context), k, prefill_tokens=0, seconds=1.0, samples=len(steps))
        seconds = [sample.seconds for sample in _samples(steps)]
        if fit is not None:
            nominal = fit.seconds(cell.sample())
            seconds = [sample.seconds * nominal / fit.seconds(sample) for sample in _samples(steps)]
        kept = without_outliers(seconds)
        middle = pseudo_median(kept)
        cells.append(replace(cell, seconds=middle, samples=len(kept)))
        spreads.append((pstdev(kept) / middle, len(kept)))
    return cells, spreads
