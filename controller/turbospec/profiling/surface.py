"""How far step times depart from the fit, at measured points and between them, and how sure that is. Pure.

A Gaussian process over log(measured / fitted) (Rasmussen and Williams 2006, chapter 2): points that are alike depart
alike, what they do not share is noise. The costs of the fit are uncertain too, which matters far from all cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from turbospec.control.latency import MeasuredCell
from turbospec.control.latency_fit import Floats
from turbospec.control.latency_modes import ModalFit, modal_terms

REACH = (2.0, 6.0, 2.0)
"""Doublings of tokens in the step, of context and of 1 + K over which departures from the fit stay alike."""
DEPARTURES = (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Sizes that departures may have, relative to the step; the likeliest is taken."""
COST_SPREAD = 0.03
"""How far each cost of the fit may be off, as a share of a typical step."""
MEDIAN_LOSS = 1.57
"""Variance of a median against that of a mean of as many normal samples (pi / 2)."""


@dataclass(frozen=True)
class Surface:
    """Departures from ``fit`` as measured at ``cells``. ``noise`` is the relative standard deviation of one step."""

    cells: tuple[MeasuredCell, ...]
    fit: ModalFit
    noise: float
    departure: float
    _places: "_Places"
    _scales: Floats
    _inverse: Floats
    _weights: Floats

    def smoothed(self) -> list[MeasuredCell]:
        """The cells without what is noise: their medians moved towards what all cells together say."""
        moved = np.exp(self._covariance(self._places) @ self._weights)
        return [
            replace(cell, seconds=float(seconds))
            for cell, seconds in zip(self.cells, self._places.fitted * moved, strict=True)
        ]

    def predict(self, batch: int, context: float, draft_tokens: Sequence[int]) -> tuple[Floats, Floats]:
        """Seconds of a step for each K there, and the covariance of their relative errors, shape (K, K)."""
        there = _places(
            self.fit,
            [float(batch)] * len(draft_tokens),
            [context] * len(draft_tokens),
            [float(k) for k in draft_tokens],
        )
        across = self._covariance(there)
        own = _kernel(there, there, self.departure) + (there.terms * self._scales) @ there.terms.T
        return there.fitted * np.exp(across @ self._weights), own - across @ self._inverse @ across.T

    def _covariance(self, there: "_Places") -> Floats:
        return _kernel(there, self._places, self.departure) + (there.terms * self._scales) @ self._places.terms.T


@dataclass(frozen=True)
class _Places:
    """Where steps lie: fitted seconds, terms of the fit relative to them, logarithms of what reach is counted in."""

    fitted: Floats
    terms: Floats
    at: Floats
    eager: Floats


def build_surface(
    cells: Sequence[MeasuredCell], fit: ModalFit, noise: float, departure: float | None = None
) -> Surface:
    """The surface of these cells (at least one, without prefill); ``departure``, where given, is taken as known."""
    places = _places(
        fit,
        [float(cell.batch) for cell in cells],
        [float(cell.context_tokens) for cell in cells],
        [float(cell.draft_tokens) for cell in cells],
    )
    departures = np.log(np.array([cell.seconds for cell in cells]) / places.fitted)
    typical = np.median(places.terms, axis=0)
    typical = np.where(typical > 0, typical, places.terms.max(axis=0))
    scales = np.where(typical > 0, COST_SPREAD / np.maximum(typical, 1e-30), 0.0) ** 2
    measured = np.diag(MEDIAN_LOSS * max(noise, 1e-3) ** 2 / np.array([cell.samples for cell in cells]))
    measured = measured + (places.terms * scales) @ places.terms.T
    best: tuple[float, float, Floats, Floats] | None = None
    for size in DEPARTURES if departure is None else (departure,):
        root = np.linalg.cholesky(measured + _kernel(places, places, size))
        whitened = np.linalg.solve(root, departures)
        likelihood = -0.5 * float(whitened @ whitened) - float(np.log(np.diag(root)).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, size, root, whitened
    if best is None:
        raise ValueError("no size of departures to choose from")
    _, size, root, whitened = best
    unrooted = np.linalg.inv(root)
    return Surface(
        tuple(cells), fit, noise, size, places, scales, unrooted.T @ unrooted, np.asarray(unrooted.T @ whitened)
    )


def _places(fit: ModalFit, batch: Sequence[float], context: Sequence[float], width: Sequence[float]) -> _Places:
    batches, contexts, widths = np.array(batch), np.array(context), np.array(width)
    terms = modal_terms(batches, widths, (widths > 0).astype(np.float64), contexts, fit.graph_sizes)
    fitted = fit.components(terms).sum(axis=0)
    rows = np.stack([np.broadcast_to(term, fitted.shape) for term in terms.columns()], axis=1) / fitted[:, None]
    at = np.stack([np.log2(terms.padded), np.log2(1.0 + contexts), np.log2(1.0 + widths)], axis=1)
    return _Places(fitted, rows, at, terms.eager)


def _kernel(here: _Places, there: _Places, size: float) -> Floats:
    """Matern 3/2 over each axis; steps in graphs and eager steps depart by themselves."""
    found = np.where(here.eager[:, None] == there.eager[None, :], size * size, 0.0)
    for axis, reach in enumerate(REACH):
        apart = np.sqrt(3.0) * np.abs(here.at[:, None, axis] - there.at[None, :, axis]) / reach
        found = found * (1.0 + apart) * np.exp(-apart)
    return np.asarray(found, dtype=np.float64)
