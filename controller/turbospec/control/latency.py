"""How long an engine step takes: measured cells first, a fit where there are none."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from turbospec.control.latency_fit import (
    FitCoefficients,
    ImpossibleFitError,
    StepSample,
    fit_latency,
    hold_out_error,
)
from turbospec.control.latency_grid import LatencyGrid, ModeRatios, measured_ratios
from turbospec.control.latency_modes import ModalFit, refine

__all__ = [
    "FitCoefficients",
    "ImpossibleFitError",
    "InvalidProfileError",
    "LatencyGrid",
    "LatencyModel",
    "MeasuredCell",
    "StepSample",
    "build_latency_model",
    "build_plain_model",
    "fit_latency",
    "hold_out_error",
]

NONSENSE_FACTOR = 20.0
"""A cell this many times off the fit is a typing error, not a measurement: graph cliffs and cold caches stay below."""


MOST_GRIDS = 64
"""Single-batch grids that a model keeps for its readers: about 2 KB each."""


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
    """Predicts step times: measured cells first, a fit where there are none (see ``LatencyGrid``).

    ``fit`` is the profile's: it prices prefill tokens, and says what the cells leave open. ``graph_sizes`` are the
    batch sizes in tokens that the engine captured graphs for; empty where there are none, or they are not known.
    ``doubt`` is the relative standard deviation by which its costs may be off beyond those of a profile of the very
    engine: above 0 where it was measured on a similar one.
    """

    cells: tuple[MeasuredCell, ...]
    fit: FitCoefficients
    graph_sizes: tuple[int, ...] = ()
    doubt: float = 0.0

    @property
    def max_draft_tokens(self) -> int:
        """The largest K that was measured; beyond it the model extrapolates."""
        return max(cell.draft_tokens for cell in self.cells)

    @cached_property
    def digest(self) -> str:
        """Names the content by which it predicts; worked out once, for the fleet loop asks each round."""
        content: list[object] = [[asdict(cell) for cell in self.cells], asdict(self.fit)]
        if self.doubt:
            content.append(self.doubt)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

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
        drafted = float(draft_tokens) if drafted_per_request is None else drafted_per_request
        grid = self._grids.get(decodes)
        if grid is None:
            grid = LatencyGrid(self, np.array([max(decodes, 0)], dtype=np.float64))
            # Readers ask for the batches of a few recent steps, over and over.
            if len(self._grids) < MOST_GRIDS:
                self._grids[decodes] = grid
        context = kv_tokens / decodes if decodes > 0 else 0.0
        return float(grid.components((draft_tokens,), (drafted,), context, prefill_tokens).sum())

    def refined(self, graph_sizes: tuple[int, ...]) -> ModalFit:
        """The fit with these graph modes, made once per set of graph sizes."""
        found = self._refined.get(graph_sizes)
        if found is None:
            found = self._refined[graph_sizes] = refine(self.cells, self.fit, graph_sizes)
        return found

    def ratios(self, graph_sizes: tuple[int, ...]) -> tuple[ModeRatios, ...]:
        """What was measured over what the refined fit says, made once too."""
        found = self._ratios.get(graph_sizes)
        if found is None:
            found = self._ratios[graph_sizes] = measured_ratios(self.refined(graph_sizes), self.cells)
        return found

    @cached_property
    def _ratios(self) -> dict[tuple[int, ...], tuple[ModeRatios, ...]]:
        return {}

    @cached_property
    def _refined(self) -> dict[tuple[int, ...], ModalFit]:
        return {}

    @cached_property
    def _grids(self) -> dict[int, LatencyGrid]:
        return {}


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


def build_plain_model(cells: Sequence[MeasuredCell], beside: FitCoefficients) -> LatencyModel:
    """A model of the same engine started without a drafter, from cells of K = 0: it says nothing of drafts.

    ``beside`` is the fit of the one with the drafter. It says what the cells leave open: the form beyond them, and what
    prompts cost, which nobody measures without a drafter. Raises InvalidProfileError where a value is impossible, or
    there is no cell.
    """
    for cell in cells:
        _check_cell(cell)
    if not cells or any(cell.draft_tokens or cell.prefill_tokens for cell in cells):
        raise InvalidProfileError("the engine without speculation needs cells, all of decodes alone: measure it again")
    fit = replace(beside, per_drafting_step=0.0, per_draft_pass=0.0, per_draft_token=0.0)
    merged = _merge(cells)
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
