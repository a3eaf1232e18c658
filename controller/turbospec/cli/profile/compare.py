"""Two profiles beside each other, and one beside its own fit. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from turbospec.cli.errors import CommandError
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import Prediction, predict
from turbospec.control.latency import (
    FitCoefficients,
    ImpossibleFitError,
    LatencyModel,
    MeasuredCell,
    fit_latency,
    hold_out_error,
)
from turbospec.wire.latency import MICRO
from turbospec.wire.plain_engine import PlainEngine


@dataclass(frozen=True, slots=True)
class CellRatio:
    """One composition in both: step seconds, and what K costs there against K = 0 (None at K = 0 itself)."""

    batch: int
    context_tokens: int
    draft_tokens: int
    first: float
    second: float
    first_relative: float | None
    second_relative: float | None

    @property
    def ratio(self) -> float:
        """Step time of the second / the first."""
        return self.second / self.first

    @property
    def relative_change(self) -> float | None:
        """By what share T(K)/T(0) differs; a uniform slowdown is none."""
        if self.first_relative is None or self.second_relative is None:
            return None
        return self.second_relative / self.first_relative - 1.0


@dataclass(frozen=True, slots=True)
class BestK:
    """What either would choose; ``loss``: share of goodput lost, by the second, with the first's choice."""

    batch: int
    acceptance: float
    first: int
    second: int
    loss: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """``cells`` in both ranges; ``left_out``: how many of the first's are beyond the second's."""

    cells: tuple[CellRatio, ...]
    left_out: int
    context_tokens: int
    choices: tuple[BestK, ...]

    @property
    def differing(self) -> tuple[BestK, ...]:
        """Choices that are not the same."""
        return tuple(choice for choice in self.choices if choice.first != choice.second)


def compare(first: LatencyModel, second: LatencyModel, acceptances: Sequence[float]) -> Comparison:
    """At the compositions of the first within the measured range of the second, both by their models.

    Raises CommandError where the two have no composition in common.
    """
    decoding = [cell for cell in first.cells if cell.prefill_tokens == 0]
    other = [cell for cell in second.cells if cell.prefill_tokens == 0]
    # Contexts are means over what was really seen: a quarter beyond the last is still the same range.
    shared = [
        cell
        for cell in decoding
        if min(c.batch for c in other) <= cell.batch <= max(c.batch for c in other)
        and 0.75 * min(c.context_tokens for c in other) <= cell.context_tokens
        and cell.context_tokens <= 1.25 * max(c.context_tokens for c in other)
        and cell.draft_tokens <= second.max_draft_tokens
    ]
    if not shared:
        raise CommandError("the two profiles have no batch and context in common: there is nothing to compare")
    context = round(median(cell.context_tokens for cell in shared))
    ks = sorted({cell.draft_tokens for cell in shared})
    choices = [
        _best((first, second), ks, batch, context, acceptance)
        for acceptance in acceptances
        for batch in sorted({cell.batch for cell in shared})
    ]
    return Comparison(
        tuple(_ratio(first, second, cell) for cell in shared), len(decoding) - len(shared), context, tuple(choices)
    )


def goodputs(
    model: LatencyModel, ks: Sequence[int], batch: int, context_tokens: float, acceptance: float
) -> tuple[Prediction, ...]:
    """Predictions where every position is accepted with this chance and every draft is full."""
    estimates = [PositionEstimate(acceptance, None, 0.0) for _ in range(max(ks, default=0))]
    return predict(model, estimates, ks, decodes=batch, kv_tokens=batch * context_tokens)


def gains(
    model: LatencyModel, ks: Sequence[int], batches: Sequence[int], context_tokens: float, acceptance: float
) -> list[list[float]]:
    """Goodput at K over goodput at K = 0: a list of every K's for each batch."""
    rows = []
    for batch in batches:
        rates = [each.tokens_per_second or 0.0 for each in goodputs(model, [0, *ks], batch, context_tokens, acceptance)]
        rows.append([rate / rates[0] for rate in rates[1:]])
    return rows


@dataclass(frozen=True, slots=True)
class Refit:
    """A fit made anew from the cells. Errors are relative; ``hold_out`` is None where no cell can be left out."""

    coefficients: FitCoefficients
    median_error: float
    stored_median_error: float
    hold_out: float | None
    worst: tuple[tuple[MeasuredCell, float], ...]
    """Cells and by what share the new fit misses them, the farthest first."""


def refit(model: LatencyModel) -> Refit:
    """Fit the cells again. Raises CommandError where that is impossible."""
    samples = [cell.sample() for cell in model.cells]
    try:
        coefficients = fit_latency(samples)
    except ImpossibleFitError as error:
        raise CommandError(f"no fit is possible: {error}") from error
    try:
        unseen: float | None = hold_out_error(samples)
    except ImpossibleFitError:
        unseen = None
    misses = [coefficients.seconds(sample) / sample.seconds - 1.0 for sample in samples]
    stored = [model.fit.seconds(sample) / sample.seconds - 1.0 for sample in samples]
    order = sorted(range(len(misses)), key=lambda i: -abs(misses[i]))
    return Refit(
        coefficients,
        float(np.median(np.abs(misses))),
        float(np.median(np.abs(stored))),
        unseen,
        tuple((model.cells[i], misses[i]) for i in order),
    )


@dataclass(frozen=True, slots=True)
class PlainRatio:
    """One cell of the engine without speculation: seconds of a step there, and of this one's at K = 0."""

    batch: int
    context_tokens: int
    plain: float
    speculating: float

    @property
    def faster(self) -> float:
        """By what share steps without speculation are faster than those at K = 0."""
        return self.speculating / self.plain - 1.0


def beside_plain(model: LatencyModel, plain: PlainEngine) -> tuple[PlainRatio, ...]:
    """The plain engine's cells beside what the model says of K = 0 at the same batch and context."""
    return tuple(
        PlainRatio(
            cell.batch,
            cell.context_tokens,
            cell.microseconds / MICRO,
            model.step_seconds(decodes=cell.batch, draft_tokens=0, kv_tokens=cell.batch * cell.context_tokens),
        )
        for cell in plain.cells
    )


def _ratio(first: LatencyModel, second: LatencyModel, cell: MeasuredCell) -> CellRatio:
    def seconds(model: LatencyModel, k: int) -> float:
        return model.step_seconds(decodes=cell.batch, draft_tokens=k, kv_tokens=cell.batch * cell.context_tokens)

    k = cell.draft_tokens
    one, two = seconds(first, k), seconds(second, k)
    relative = (None, None) if k == 0 else (one / seconds(first, 0), two / seconds(second, 0))
    return CellRatio(cell.batch, cell.context_tokens, k, one, two, *relative)


def _best(
    models: tuple[LatencyModel, LatencyModel], ks: Sequence[int], batch: int, context: int, acceptance: float
) -> BestK:
    one, two = (goodputs(model, ks, batch, context, acceptance) for model in models)
    chosen, best = _highest(one), _highest(two)
    rates = {each.draft_tokens: each.tokens_per_second or 0.0 for each in two}
    return BestK(batch, acceptance, chosen, best, 1.0 - rates[chosen] / rates[best])


def _highest(predictions: Sequence[Prediction]) -> int:
    return max(predictions, key=lambda each: each.tokens_per_second or 0.0).draft_tokens
