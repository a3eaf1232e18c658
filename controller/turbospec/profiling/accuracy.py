"""How good a profile is where it has no cell: whole measured points are held out and predicted by the rest. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from turbospec.control.latency import FitCoefficients, LatencyModel, MeasuredCell
from turbospec.profiling.surface import MEDIAN_LOSS, Surface, build_surface

RATIO_TARGET = 0.02
"""Error of T(K) / T(0), 95th percentile over held-out points, at which a profile is good enough."""
REGRET_TARGET = 0.005
"""Mean share of goodput that choices by predicted times may lose on held-out points."""
ACCEPTANCES = tuple(0.05 + 0.1 * step for step in range(10))
"""Acceptances for which choices are judged."""
FEWEST_HELD_OUT = 4
"""Points below which nothing can be said."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """``ratio_error``: of T(K) / T(0), 95th percentile; ``regret``: mean share of goodput lost by choices."""

    ratio_error: float
    regret: float

    @property
    def reached(self) -> bool:
        """Whether the profile is good enough to stop measuring."""
        return self.ratio_error <= RATIO_TARGET and self.regret <= REGRET_TARGET

    def __str__(self) -> str:
        return f"T(K)/T(0) within {self.ratio_error:.1%}, regret {self.regret:.1%}"


def held_out(surface: Surface, fit: FitCoefficients) -> Accuracy | None:
    """Predicts every point (batch, context) between the smallest and the largest batch by a model of all the others.

    The noise of the held-out medians themselves, known from the spread of their steps, is taken out of the error, but
    for its own uncertainty. Regret takes the smoothed cells for the truth. None for fewer than FEWEST_HELD_OUT points.
    """
    points: dict[tuple[int, int], list[int]] = {}
    for index, cell in enumerate(surface.cells):
        points.setdefault((cell.batch, cell.context_tokens), []).append(index)
    ends = (min(batch for batch, _ in points), max(batch for batch, _ in points))
    inner = {point: members for point, members in points.items() if point[0] not in ends}
    if len(inner) < FEWEST_HELD_OUT:
        return None
    best_known = surface.smoothed()
    excess, noises, regrets = [], [], []
    for members in inner.values():
        left = [cell for index, cell in enumerate(surface.cells) if index not in members]
        model = _model(left, surface, fit)
        predicted = _seconds(model, [surface.cells[index] for index in members])
        measured = {surface.cells[i].draft_tokens: surface.cells[i] for i in members}
        known = {best_known[i].draft_tokens: best_known[i].seconds for i in members}
        for k, cell in measured.items():
            if k:
                error = math.log(predicted[k] / predicted[0] / (cell.seconds / measured[0].seconds))
                noise = MEDIAN_LOSS * surface.noise**2 * (1 / cell.samples + 1 / measured[0].samples)
                excess.append(error**2 - noise)
                noises.append(noise)
        regrets.append(_regret(predicted, known))
    # A square of a normal variable has a variance of twice its own square; ratios of one point share T(0).
    doubt = math.sqrt(2.0 / len(inner)) * float(np.mean(noises))
    spread = math.sqrt(max(float(np.mean(excess)), 0.0) + doubt)
    return Accuracy(1.96 * spread, float(np.mean(regrets)))


def _model(cells: Sequence[MeasuredCell], surface: Surface, fit: FitCoefficients) -> LatencyModel:
    rest = LatencyModel(tuple(cells), fit, surface.fit.graph_sizes)
    smoothed = build_surface(cells, rest.refined(rest.graph_sizes), surface.noise, surface.departures).smoothed()
    return LatencyModel(tuple(smoothed), fit, rest.graph_sizes)


def _seconds(model: LatencyModel, cells: Sequence[MeasuredCell]) -> dict[int, float]:
    return {
        cell.draft_tokens: model.step_seconds(
            decodes=cell.batch, draft_tokens=cell.draft_tokens, kv_tokens=cell.batch * cell.context_tokens
        )
        for cell in cells
    }


def _regret(predicted: dict[int, float], true: dict[int, float]) -> float:
    """Mean over acceptances of the goodput that the K chosen by predicted times loses."""
    lost = []
    for acceptance in ACCEPTANCES:
        tokens = {k: sum(acceptance**j for j in range(k + 1)) for k in true}
        chosen = max(true, key=lambda k: tokens[k] / predicted[k])
        best = max(tokens[k] / true[k] for k in true)
        lost.append(1.0 - tokens[chosen] / true[chosen] / best)
    return float(np.mean(lost))
