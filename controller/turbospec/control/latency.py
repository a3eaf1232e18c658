"""How long an engine step takes: measured cells first, a fit where there are none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turbospec.control.latency_fit import (
    FitCoefficients,
    Floats,
    ImpossibleFitError,
    StepSample,
    fit_latency,
    hold_out_error,
)

__all__ = [
    "FitCoefficients",
    "ImpossibleFitError",
    "InvalidProfileError",
    "LatencyGrid",
    "LatencyModel",
    "MeasuredCell",
    "StepSample",
    "build_latency_model",
    "fit_latency",
    "hold_out_error",
]

NONSENSE_FACTOR = 20.0
"""A cell this many times off the fit is a typing error, not a measurement: graph cliffs and cold caches stay below."""


class InvalidProfileError(ValueError):
    """A latency profile that cannot be used; the message names what is wrong and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class MeasuredCell:
    """The median duration of an engine step of one composition; ``context_tokens`` is the mean per request."""

    batch: int
    context_tokens: int
    draft_tokens: int
    prefill_tokens: int
    seconds: float
    samples: int

    def sample(self) -> StepSample:
        """The cell as the fit takes it; it counts once, however many steps are behind its median."""
        return StepSample(
            decodes=self.batch,
            draft_tokens=self.draft_tokens,
            verified_draft_tokens=self.batch * self.draft_tokens,
            prefill_tokens=self.prefill_tokens,
            kv_tokens=self.batch * self.context_tokens,
            seconds=self.seconds,
        )

    def __str__(self) -> str:
        prefill = f", prefillTokens {self.prefill_tokens}" if self.prefill_tokens else ""
        return (
            f"cell (batch {self.batch}, contextTokens {self.context_tokens}, draftTokens {self.draft_tokens}{prefill})"
        )


@dataclass(frozen=True)
class LatencyModel:
    """Predicts step times: the fit, corrected by what the cells around a composition measured against it.

    prediction = fit(decode part) * ratio + per_batched_token * prefill tokens, where ratio is measured / fitted,
    interpolated linearly over log2(batch) and over the draft tokens verified per request, and constant beyond the
    measured range. So a cell is met exactly at its own point (cells that differ only in context share their mean
    ratio; the fit carries the context), and the fit extrapolates.
    """

    cells: tuple[MeasuredCell, ...]
    fit: FitCoefficients

    @property
    def max_draft_tokens(self) -> int:
        """The largest K that was measured; beyond it the model extrapolates."""
        return max(cell.draft_tokens for cell in self.cells)

    def step_seconds(
        self,
        *,
        decodes: int,
        draft_tokens: int,
        kv_tokens: float,
        prefill_tokens: int = 0,
        drafted_per_request: float | None = None,
    ) -> float:
        """Predicted duration of one step, in seconds.

        ``draft_tokens`` is K; ``drafted_per_request`` the mean draft tokens really verified per request (below K where
        the drafter yields less; None means K).
        """
        batches = np.array([max(decodes, 0)], dtype=np.float64)
        drafted = float(draft_tokens) if drafted_per_request is None else drafted_per_request
        grid = LatencyGrid(self, batches)
        context = kv_tokens / decodes if decodes > 0 else 0.0
        seconds = float(grid.seconds((draft_tokens,), (drafted,), context)[0, 0])
        return seconds + self.fit.per_batched_token * prefill_tokens

    @cached_property
    def ratios(self) -> tuple[tuple[int, Floats, Floats], ...]:
        """For every measured K: (K, log2 of the batches, measured / fitted), batches rising."""
        by_point: dict[int, dict[int, list[tuple[float, int]]]] = {}
        for cell in self.cells:
            if cell.prefill_tokens == 0:
                ratio = cell.seconds / self.fit.seconds(cell.sample())
                by_point.setdefault(cell.draft_tokens, {}).setdefault(cell.batch, []).append((ratio, cell.samples))
        rows = []
        for draft_tokens in sorted(by_point):
            points = sorted(by_point[draft_tokens].items())
            means = [sum(r * n for r, n in values) / sum(n for _, n in values) for _, values in points]
            rows.append((draft_tokens, np.log2([batch for batch, _ in points]), np.array(means)))
        return tuple(rows)


class LatencyGrid:
    """A latency model prepared for a fixed row of batch sizes, so that a whole table costs a few vector operations."""

    def __init__(self, model: LatencyModel, batches: NDArray[np.float64]) -> None:
        self._fit = model.fit
        self._batches = batches
        positions = np.log2(np.maximum(batches, 1.0))
        self._widths = np.array([row[0] for row in model.ratios], dtype=np.float64)
        self._ratios = np.stack([np.interp(positions, row[1], row[2]) for row in model.ratios])

    def seconds(self, draft_tokens: Sequence[int], drafted: Sequence[float], context_tokens: float) -> Floats:
        """Pure-decode step times, shape (len(draft_tokens), batches), for requests of this mean context.

        ``drafted[i]`` is the mean number of draft tokens verified per request at K = ``draft_tokens[i]``.
        """
        fit = self._fit
        k = np.array(draft_tokens, dtype=np.float64)[:, None]
        width = np.minimum(np.array(drafted, dtype=np.float64)[:, None], k)
        batch = self._batches[None, :]
        fitted = (
            fit.per_step
            + fit.per_batched_token * batch * (1.0 + width)
            + fit.per_kv_token * batch * context_tokens
            + fit.per_drafting_step * (k > 0)
            + width * (fit.per_draft_pass + fit.per_draft_token * batch)
        )
        return np.asarray(fitted * self._ratio(width[:, 0]), dtype=np.float64)

    def _ratio(self, width: Floats) -> Floats:
        """Ratios at these widths for every batch, linear between measured widths, constant outside."""
        widths = self._widths
        upper = np.clip(np.searchsorted(widths, width), 1, len(widths) - 1)
        lower = upper - 1
        share = np.clip((width - widths[lower]) / (widths[upper] - widths[lower]), 0.0, 1.0)[:, None]
        return np.asarray(self._ratios[lower] * (1.0 - share) + self._ratios[upper] * share, dtype=np.float64)


def build_latency_model(cells: Sequence[MeasuredCell], fit: FitCoefficients | None = None) -> LatencyModel:
    """Validate measured cells and make a model of them, with the fit given or a new one.

    Cells of the same composition are merged, weighted by their samples. Raises InvalidProfileError where a value is
    impossible, K = 0 or K > 0 was not measured without prefill, no fit is possible, or a cell is nonsense beside the
    rest.
    """
    for cell in cells:
        _check_cell(cell)
    merged = _merge(cells)
    decode_draft_tokens = {cell.draft_tokens for cell in merged if cell.prefill_tokens == 0}
    if 0 not in decode_draft_tokens:
        raise InvalidProfileError("no cell with draftTokens 0 and no prefill: measure K=0, all is compared with it")
    if decode_draft_tokens == {0}:
        raise InvalidProfileError("no cell with draftTokens above 0: measure at least one, or pin draftTokens to [0]")
    if fit is None:
        try:
            fit = fit_latency([cell.sample() for cell in merged])
        except ImpossibleFitError as error:
            raise InvalidProfileError(f"no fit is possible: {error}") from error
    _check_fit(fit)
    for cell in merged:
        _check_against_fit(cell, fit)
    return LatencyModel(cells=merged, fit=fit)


def _check_cell(cell: MeasuredCell) -> None:
    if not (math.isfinite(cell.seconds) and cell.seconds > 0):
        raise InvalidProfileError(f"{cell} has a step time of {cell.seconds} s: it must be positive; measure it again")
    if cell.batch < 1 or cell.samples < 1 or min(cell.context_tokens, cell.draft_tokens, cell.prefill_tokens) < 0:
        raise InvalidProfileError(f"{cell} has a negative count, or a batch or samples below 1: correct or remove it")


def _check_fit(fit: FitCoefficients) -> None:
    for name in FitCoefficients.__dataclass_fields__:
        value = getattr(fit, name)
        if not (math.isfinite(value) and value >= 0):
            raise InvalidProfileError(f"fit coefficient {name} is {value}: it must be a cost, zero or above")
    if fit.per_step + fit.per_batched_token == 0:
        raise InvalidProfileError("the fit gives a step no cost (perStep, perBatchedToken are 0): fit the cells again")


def _check_against_fit(cell: MeasuredCell, fit: FitCoefficients) -> None:
    fitted = fit.seconds(cell.sample())
    factor = max(cell.seconds / fitted, fitted / cell.seconds)
    if factor > NONSENSE_FACTOR:
        raise InvalidProfileError(
            f"{cell} says {cell.seconds * 1e3:.3g} ms where the rest of the profile says {fitted * 1e3:.3g} ms: "
            "correct or remove it"
        )


def _merge(cells: Sequence[MeasuredCell]) -> tuple[MeasuredCell, ...]:
    groups: dict[tuple[int, int, int, int], list[MeasuredCell]] = {}
    for cell in cells:
        key = (cell.batch, cell.context_tokens, cell.draft_tokens, cell.prefill_tokens)
        groups.setdefault(key, []).append(cell)
    merged = []
    for key in sorted(groups):
        samples = sum(cell.samples for cell in groups[key])
        seconds = sum(cell.seconds * cell.samples for cell in groups[key]) / samples
        merged.append(MeasuredCell(*key, seconds=seconds, samples=samples))
    return tuple(merged)
