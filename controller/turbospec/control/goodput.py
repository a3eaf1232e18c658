"""Goodput: tokens delivered per second at a draft length K."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.latency import LatencyModel

NO_DRAFTS_YIELD = 0.02
"""Where fewer requests than this get any draft, acceptance is not observed, and does not matter either."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one K is expected to do for a step; ``None`` where acceptance is not known."""

    draft_tokens: int
    expected_tokens: float | None
    """Tokens delivered per request and step, the bonus token included."""
    step_seconds: float
    tokens_per_second: float | None


def expected_tokens(estimates: Sequence[PositionEstimate], draft_tokens: int) -> float | None:
    """Expected tokens per request and step, in [1, K + 1]; None where acceptance is unknown.

    1 + sum over j < K of yield_j * product of acceptance_i for i <= j: section 3 of arXiv 2406.14066 has
    (1 - a^(K+1)) / (1 - a), the same sum for one acceptance a at all positions and a drafter that always drafts K.
    An unknown yield counts as 1 (what a model drafter does).
    """
    total = 1.0
    reach = 1.0
    for estimate in estimates[:draft_tokens]:
        draft_yield = 1.0 if estimate.draft_yield is None else estimate.draft_yield
        if estimate.acceptance is None:
            return total if draft_yield <= NO_DRAFTS_YIELD else None
        reach *= estimate.acceptance
        total += draft_yield * reach
    if draft_tokens > len(estimates):
        return None
    return total


def drafted_per_request(estimates: Sequence[PositionEstimate], draft_tokens: int) -> float:
    """Expected draft tokens verified per request at this K, in [0, K]; an unknown yield counts as 1, the full cost."""
    known = [1.0 if e.draft_yield is None else e.draft_yield for e in estimates[:draft_tokens]]
    return sum(known) + (draft_tokens - len(known))


def shifted(estimates: Sequence[PositionEstimate], sigmas: float) -> tuple[PositionEstimate, ...]:
    """The same text, were every acceptance off by so many of its standard deviations (in log odds)."""
    moved = []
    for estimate in estimates:
        a = estimate.acceptance
        if a is not None and 0.0 < a < 1.0:
            odds = a / (1.0 - a) * math.exp(sigmas * estimate.spread)
            a = odds / (1.0 + odds)
        # Not dataclasses.replace: it takes five times as long, and rebuilds wait for it.
        moved.append(PositionEstimate(a, estimate.draft_yield, estimate.samples, estimate.spread))
    return tuple(moved)


def predict(
    model: LatencyModel,
    estimates: Sequence[PositionEstimate],
    draft_tokens: Sequence[int],
    *,
    decodes: int,
    kv_tokens: float,
    prefill_tokens: int = 0,
) -> tuple[Prediction, ...]:
    """Goodput of every K in ``draft_tokens`` for a step of this composition.

    Every K is evaluated (the paper stops at the first drop; goodput over K need not have a single peak).
    """
    predictions = []
    for k in draft_tokens:
        tokens = expected_tokens(estimates, k)
        seconds = model.step_seconds(
            decodes=decodes,
            draft_tokens=k,
            kv_tokens=kv_tokens,
            prefill_tokens=prefill_tokens,
            drafted_per_request=drafted_per_request(estimates, k),
        )
        rate = None if tokens is None else decodes * tokens / seconds
        predictions.append(Prediction(k, tokens, seconds, rate))
    return tuple(predictions)
