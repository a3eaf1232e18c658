"""How far step times depart from the fit, at measured points and between them, and how sure that is. Pure.

A Gaussian process over log(measured / fitted) (Rasmussen and Williams 2006, chapter 2): points that are alike depart
alike, what they do not share is noise. Departures are a sum of two: what steps of as many tokens share, and what each K
has by itself (kernels and graphs are made for single K; smoothed over K, a leap between two of them would be lost). The
costs of the fit are uncertain too, which matters far from all cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from turbospec.control.latency import MeasuredCell
from turbospec.control.latency_fit import Floats
from turbospec.control.latency_modes import ModalFit, modal_terms

REACH = (2.0, 6.0, 2.0)
"""Doublings of tokens in the step, of context and of 1 + K over which departures from the fit stay alike."""
OWN_REACH = (3.0, 12.0)
"""Doublings of batch and of context over which those of one K do."""
DEPARTURES = (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Sizes that departures of either kind may have, relative to the step; the likeliest are taken."""
SEARCHES = 3
"""Searches along one size with the other held; a fourth moves none."""
SAME_WIDTH = 1e-6
"""Doublings of 1 + K within which it is the same K."""
COST_SPREAD = 0.03
"""How far each cost of the fit may be off, as a share of a typical step."""
MEDIAN_LOSS = 1.05
"""Variance of a cell's pseudo-median against that of a mean of as many normal samples (pi / 3)."""


@dataclass(frozen=True)
class Surface:
    """Departures from ``fit`` as measured at ``cells``. ``noise`` is the relative standard deviation of one step."""

    cells: tuple[MeasuredCell, ...]
    fit: ModalFit
    noise: float
    departures: tuple[float, float]
    """Their sizes: over tokens, and of each K by itself."""
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
        own = _kernel(there, there, self.departures) + (there.terms * self._scales) @ there.terms.T
        return there.fitted * np.exp(across @ self._weights), own - across @ self._inverse @ across.T

    def _covariance(self, there: "_Places") -> Floats:
        return _kernel(there, self._places, self.departures) + (there.terms * self._scales) @ self._places.terms.T


@dataclass(frozen=True)
class _Places:
    """Where steps lie: fitted seconds, terms of the fit relative to them, logarithms of what reach is counted in:
    tokens, context, 1 + K, batch."""

    fitted: Floats
    terms: Floats
    at: Floats
    eager: Floats


def build_surface(
    cells: Sequence[MeasuredCell], fit: ModalFit, noise: float, departures: tuple[float, float] | None = None
) -> Surface:
    """The surface of these cells (at least one, without prefill); ``departures``, where given, are taken as known."""
    places = _places(
        fit,
        [float(cell.batch) for cell in cells],
        [float(cell.context_tokens) for cell in cells],
        [float(cell.draft_tokens) for cell in cells],
    )
    found = np.log(np.array([cell.seconds for cell in cells]) / places.fitted)
    typical = np.median(places.terms, axis=0)
    typical = np.where(typical > 0, typical, places.terms.max(axis=0))
    scales = np.where(typical > 0, COST_SPREAD / np.maximum(typical, 1e-30), 0.0) ** 2
    measured = np.diag(MEDIAN_LOSS * max(noise, 1e-3) ** 2 / np.array([cell.samples for cell in cells]))
    measured = measured + (places.terms * scales) @ places.terms.T
    kinds = _alike(places, places)
    if departures is None:
        departures = _likeliest(measured, kinds, found)
    root, whitened, _ = _whitened(measured, kinds, departures, found)
    unrooted = np.linalg.inv(root)
    return Surface(
        tuple(cells), fit, noise, departures, places, scales, unrooted.T @ unrooted, np.asarray(unrooted.T @ whitened)
    )


def _likeliest(measured: Floats, kinds: tuple[Floats, Floats], found: Floats) -> tuple[float, float]:
    """The sizes of both kinds of departures under which those found are likeliest, searched one after the other."""
    sizes = [DEPARTURES[0], DEPARTURES[0]]
    for search in range(SEARCHES):

        def likelihood(size: float, axis: int = search % 2) -> float:
            tried = (size, sizes[1]) if axis == 0 else (sizes[0], size)
            return _whitened(measured, kinds, tried, found)[2]

        sizes[search % 2] = max(DEPARTURES, key=likelihood)
    return sizes[0], sizes[1]


def _whitened(
    measured: Floats, kinds: tuple[Floats, Floats], sizes: tuple[float, float], found: Floats
) -> tuple[Floats, Floats, float]:
    """Root of the covariance, the departures in its units, and the logarithm of their likelihood but for a constant."""
    covariance = measured + sizes[0] ** 2 * kinds[0] + sizes[1] ** 2 * kinds[1]
    root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    whitened = np.asarray(np.linalg.solve(root, found), dtype=np.float64)
    return root, whitened, -0.5 * float(whitened @ whitened) - float(np.log(np.diag(root)).sum())


def _places(fit: ModalFit, batch: Sequence[float], context: Sequence[float], width: Sequence[float]) -> _Places:
    batches, contexts, widths = np.array(batch), np.array(context), np.array(width)
    terms = modal_terms(batches, widths, (widths > 0).astype(np.float64), contexts, fit.graph_sizes)
    fitted = fit.components(terms).sum(axis=0)
    rows = np.stack([np.broadcast_to(term, fitted.shape) for term in terms.columns()], axis=1) / fitted[:, None]
    at = np.log2(np.stack([terms.padded, 1.0 + contexts, 1.0 + widths, batches], axis=1))
    return _Places(fitted, rows, at, terms.eager)


def _kernel(here: _Places, there: _Places, sizes: tuple[float, float]) -> Floats:
    shared, own = _alike(here, there)
    return sizes[0] ** 2 * shared + sizes[1] ** 2 * own


def _alike(here: _Places, there: _Places) -> tuple[Floats, Floats]:
    """How alike departures are, 0 to 1: those over tokens, and those of each K by itself (Matern 3/2 over each axis).

    Over tokens, steps in graphs and eager steps depart apart.
    """
    tokens, context, width, batch = (np.abs(here.at[:, None, i] - there.at[None, :, i]) for i in range(4))
    shared = np.where(here.eager[:, None] == there.eager[None, :], 1.0, 0.0)
    for apart, reach in zip((tokens, context, width), REACH, strict=True):
        shared = shared * _matern(apart / reach)
    own = np.where(width < SAME_WIDTH, 1.0, 0.0) * _matern(batch / OWN_REACH[0]) * _matern(context / OWN_REACH[1])
    return np.asarray(shared, dtype=np.float64), np.asarray(own, dtype=np.float64)


def _matern(apart: Floats) -> Floats:
    scaled = np.sqrt(3.0) * apart
    return np.asarray((1.0 + scaled) * np.exp(-scaled), dtype=np.float64)
