"""A latency model prepared for a row of batch sizes, so that a whole table of step times is a few vector operations."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turbospec.control.latency_fit import Floats
from turbospec.control.latency_modes import FREE, ModalFit, modal_terms, padded_tokens

if TYPE_CHECKING:
    from turbospec.control.latency import LatencyModel, MeasuredCell

Points = list[tuple[float, list[tuple[float, float]]]]
"""Measured tokens of a step, rising; for each the contexts, rising, and what was measured over what the fit says."""

ModeRatios = dict[int, Points]
"""Those of one graph mode by measured K, rising."""

MOST_TOKENS = 20000
"""Batched tokens up to which their cost is kept ready (160 KB): more than schedulers put into a step."""
BARELY_LESS_THAN_ONE = 1.0 - 1e-9
"""Parts of a token count as a whole one."""


class LatencyGrid:
    """Predicted step times for every batch of a row, by component.

    prediction = fit * ratio. The fit knows the form (see ``latency_modes``); ratio is measured / fitted at the cells,
    interpolated linearly over context, tokens that the step computes (padded to its graph) and draft tokens per
    request, and constant beyond the measured range. So a cell is met at its own point, and the fit extrapolates. Ratios
    are never carried from one graph mode into the other: a row of K without a cell in a mode counts as fitted there.
    """

    def __init__(self, model: "LatencyModel", batches: NDArray[np.float64], graph_sizes: Sequence[int] = ()) -> None:
        graph_sizes = tuple(graph_sizes) or model.graph_sizes
        self.batches = batches
        self.fit: ModalFit = model.refined(graph_sizes)
        self.per_prefill_token = model.fit.per_batched_token
        modes = model.ratios(graph_sizes)
        self._widths = np.array(list(modes[0]), dtype=np.float64)
        self._modes = [_Ratios(mode, batches, graph_sizes) for mode in modes]

    @cached_property
    def _by_tokens(self) -> Floats:
        """Fitted seconds by batched tokens, were none of them eager; looked up, for plans ask for thousands at once."""
        padded, _ = padded_tokens(np.arange(MOST_TOKENS + 1, dtype=np.float64), self.fit.graph_sizes)
        return np.asarray(self.fit.costs[0] + self.fit.costs[1] * padded, dtype=np.float64)

    def components(
        self,
        draft_tokens: Sequence[int],
        drafted: Sequence[float],
        context_tokens: float,
        prefill_tokens: Floats | float = 0.0,
    ) -> Floats:
        """Seconds of each of COMPONENTS, shape (components, len(draft_tokens), batches), for this mean context.

        ``drafted[i]`` is the mean number of draft tokens verified per request at K = ``draft_tokens[i]``. Prefill
        tokens in the step cost what batched tokens cost, and may push it out of the captured graphs.
        """
        k = np.array(draft_tokens, dtype=np.float64)
        width = np.minimum(np.array(drafted, dtype=np.float64), k)
        batch = self.batches[None, :]
        sizes = self.fit.graph_sizes
        extra = prefill_tokens if sizes else 0.0
        terms = modal_terms(batch, width[:, None], (k > 0).astype(np.float64)[:, None], context_tokens, sizes, extra)
        fitted = self.fit.components(terms)
        fitted *= self._ratio(width, context_tokens, terms.eager)
        if not sizes:
            fitted[1] += self.per_prefill_token * prefill_tokens
        return fitted

    def prefill_adds(
        self, draft_tokens: Sequence[int], drafted: Sequence[float], context_tokens: float
    ) -> Callable[[Floats | float], tuple[Floats, Floats]]:
        """As ``prefill_adds_to`` for every K and batch of the row, shapes (len(draft_tokens), batches)."""
        k = np.array(draft_tokens, dtype=np.float64)[:, None]
        width = np.minimum(np.array(drafted, dtype=np.float64)[:, None], k)
        return self.prefill_adds_to(self.batches[None, :], width, (k > 0).astype(np.float64), context_tokens)

    def prefill_adds_to(
        self, batch: Floats, width: Floats, drafting: Floats, context_tokens: float
    ) -> Callable[[Floats | float], tuple[Floats, Floats]]:
        """A function of prefill tokens: seconds that they add to these steps, and what leaving the graphs adds besides.

        The first is their own time, and that of a larger graph. Where they push the step out of all graphs, all of it
        is as much dearer as eager steps are; of a step that was eager before, only they. Arrays broadcast.
        """
        fit = self.fit
        terms = modal_terms(batch, width, drafting, context_tokens, fit.graph_sizes)
        tokens = batch * (1.0 + width)
        without = self._batched(tokens)
        step, token = fit.eager_extra[:FREE]
        dearer = (1.0 - terms.eager) * (step + token * tokens + fit.eager_rest(terms))
        last = max(fit.graph_sizes, default=np.inf)

        def added(prefill: Floats | float) -> tuple[Floats, Floats]:
            together = tokens + prefill
            own = self._batched(together) - without
            return own, (together > last) * (dearer + token * prefill)

        return added

    def _batched(self, tokens: Floats) -> Floats:
        """Fitted seconds of so many batched tokens in a step that is not eager."""
        found = self._by_tokens[np.minimum(tokens + BARELY_LESS_THAN_ONE, MOST_TOKENS).astype(np.intp)]
        beyond = tokens - MOST_TOKENS
        if beyond.max() > 0:
            found += np.maximum(beyond, 0.0) * (self._by_tokens[-1] - self._by_tokens[-2])
        return np.asarray(found, dtype=np.float64)

    def seconds(self, draft_tokens: Sequence[int], drafted: Sequence[float], context_tokens: float) -> Floats:
        """Pure-decode step times, shape (len(draft_tokens), batches), for requests of this mean context."""
        return np.asarray(self.components(draft_tokens, drafted, context_tokens).sum(axis=0), dtype=np.float64)

    def _ratio(self, width: Floats, context: float, eager: Floats) -> Floats:
        """Ratios at these widths for every batch: linear between measured widths, constant outside."""
        widths = self._widths
        if len(widths) == 1:
            lower = upper = np.zeros(len(width), dtype=np.intp)
            share = np.zeros((len(width), 1))
        else:
            upper = np.minimum(np.maximum(np.searchsorted(widths, width), 1), len(widths) - 1)
            lower = upper - 1
            share = _share((width - widths[lower]) / (widths[upper] - widths[lower]))[:, None]
        found = []
        for mode in self._modes:
            rows = mode.rows(context)
            found.append(rows[lower] * (1.0 - share) + rows[upper] * share)
        if len(found) == 1:
            return np.asarray(found[0], dtype=np.float64)
        return np.where(eager > 0, found[1], found[0])


class _Ratios:
    """Measured over fitted of one graph mode, for every measured K and every batch of the row."""

    def __init__(self, mode: ModeRatios, batches: Floats, graph_sizes: Sequence[int]) -> None:
        contexts: list[list[float]] = []
        values: list[list[float]] = []
        lower, upper, share = [], [], []
        for width, points in mode.items():
            first = len(contexts)
            contexts.extend([c for c, _ in measured] for _, measured in points)
            values.extend([r for _, r in measured] for _, measured in points)
            at = np.array([tokens for tokens, _ in points])
            here, _ = padded_tokens(batches * (1.0 + width), graph_sizes)
            above = np.clip(np.searchsorted(at, here), 1, max(len(at) - 1, 1))
            below = above - 1
            above = np.minimum(above, len(at) - 1)
            span = np.maximum(at[above] - at[below], 1e-9)
            lower.append(first + below)
            upper.append(first + above)
            share.append(np.clip((here - at[below]) / span, 0.0, 1.0))
        most = max(len(row) for row in contexts)
        # Shorter rows repeat their last context: beyond the last one the ratio is constant.
        self._contexts = np.array([row + row[-1:] * (most - len(row)) for row in contexts])
        self._values = np.array([row + row[-1:] * (most - len(row)) for row in values])
        self._lower, self._upper, self._share = np.array(lower), np.array(upper), np.array(share)
        self._constant = most == 1

    def rows(self, context: float) -> Floats:
        """Shape (measured K, batches)."""
        points = self._values[:, 0] if self._constant else self._at(context)
        below = points[self._lower]
        return np.asarray(below + self._share * (points[self._upper] - below), dtype=np.float64)

    def _at(self, context: float) -> Floats:
        contexts, values = self._contexts, self._values
        rows = np.arange(len(values))
        above = np.minimum(np.maximum((contexts < context).sum(axis=1), 1), contexts.shape[1] - 1)
        low, high = contexts[rows, above - 1], contexts[rows, above]
        share = _share((context - low) / np.maximum(high - low, 1e-9))
        return np.asarray(values[rows, above - 1] * (1.0 - share) + values[rows, above] * share, dtype=np.float64)


def _share(share: Floats) -> Floats:
    """Within 0..1; np.clip does the same in three times the time for arrays as small as these."""
    return np.minimum(np.maximum(share, 0.0), 1.0)


def measured_ratios(fit: ModalFit, cells: Sequence["MeasuredCell"]) -> tuple[ModeRatios, ...]:
    """What was measured over what the fit says: in a graph, and, where there are graphs, eagerly."""
    decoding = [cell for cell in cells if cell.prefill_tokens == 0]
    widths = sorted({cell.draft_tokens for cell in decoding}) or [0]
    return tuple(
        {width: _points(fit, [c for c in decoding if c.draft_tokens == width], eager=eager) for width in widths}
        for eager in ((False, True) if fit.graph_sizes else (False,))
    )


def _points(fit: ModalFit, cells: Sequence["MeasuredCell"], *, eager: bool) -> Points:
    """The cells of one K in this mode by tokens and context; a single neutral point where there are none."""
    by_tokens: dict[float, list[tuple[float, float]]] = {}
    for cell in cells:
        batch = np.array([float(cell.batch)])
        width = np.array([float(cell.draft_tokens)])
        terms = modal_terms(batch, width, (width > 0).astype(np.float64), float(cell.context_tokens), fit.graph_sizes)
        if bool(terms.eager[0] > 0) is not eager:
            continue
        fitted = float(fit.components(terms).sum())
        tokens = float(terms.padded[0])
        by_tokens.setdefault(tokens, []).append((float(cell.context_tokens), cell.seconds / fitted))
    if not by_tokens:
        return [(1.0, [(0.0, 1.0)])]
    return [(tokens, sorted(by_tokens[tokens])) for tokens in sorted(by_tokens)]
