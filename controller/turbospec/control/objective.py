"""Latency ceilings that goodput is maximised under."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.latency_fit import Floats

REQUEST_SPREAD = 0.1
"""Standard deviation of acceptance between requests of one text: between tasks published means differ by this much."""


@dataclass(frozen=True, slots=True)
class Objective:
    """Ceilings in seconds, None where there is none; each for the requests up to its percentile (1..99)."""

    time_per_output_token_seconds: float | None = None
    time_per_output_token_percentile: int = 90
    time_to_first_token_seconds: float | None = None
    time_to_first_token_percentile: int = 90

    def __post_init__(self) -> None:
        for name in ("time_per_output_token", "time_to_first_token"):
            seconds, percentile = getattr(self, f"{name}_seconds"), getattr(self, f"{name}_percentile")
            if seconds is not None and not 0.0 < seconds < math.inf:
                raise ValueError(f"objective {name}: {seconds} s is not a positive time")
            if not 1 <= percentile <= 99:
                raise ValueError(f"objective {name}: percentile {percentile} is not within 1..99")

    @property
    def empty(self) -> bool:
        """No ceiling at all."""
        return self.time_per_output_token_seconds is None and self.time_to_first_token_seconds is None


def slow_estimates(estimates: tuple[PositionEstimate, ...], percentile: int) -> tuple[PositionEstimate, ...]:
    """Acceptance of a request that is slower than ``percentile`` percent of them.

    The mean over requests says nothing of those whose text is hard to predict: their acceptance lies lower by the
    percentile's quantile of the spread between requests.
    """
    lower = max(0.0, NormalDist().inv_cdf(percentile / 100.0)) * REQUEST_SPREAD
    return tuple(
        e
        if e.acceptance is None
        else PositionEstimate(max(0.0, e.acceptance - lower), e.draft_yield, e.samples, e.spread)
        for e in estimates
    )


def excess(
    objective: Objective, seconds: Floats, slow_tokens: Floats, *, prefill_seconds: float, waiting: float
) -> Floats:
    """By how much each K (rows) at each batch (columns) misses the tighter ceiling: predicted / allowed, at most 1 is
    met.

    ``seconds`` are step times without prefill, ``slow_tokens`` the tokens per step of the slow requests, by K;
    ``prefill_seconds`` what prefill adds to a mean step. Time to first token: the step that is under way when the
    request comes (half of it on average, all of it at worst), its own, and one more for each that waits before it.
    """
    worst = np.zeros_like(seconds)
    if objective.time_per_output_token_seconds is not None:
        per_token = (seconds + prefill_seconds) / slow_tokens[:, None]
        worst = np.maximum(worst, per_token / objective.time_per_output_token_seconds)
    if objective.time_to_first_token_seconds is not None:
        under_way = objective.time_to_first_token_percentile / 100.0
        first = (under_way + 1.0 + waiting) * (seconds + prefill_seconds)
        worst = np.maximum(worst, first / objective.time_to_first_token_seconds)
    return np.asarray(worst, dtype=np.float64)
