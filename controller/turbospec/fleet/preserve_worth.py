"""What speculation is worth to whoever keeps scaling on a metric that it moves (``spec.autoscaling.preserve``).

An autoscaler keeps its metric at the target. A pod then delivers what the engine delivers at that reading, with the
drafter and without, and the demand over it is the number of pods. No bound on K helps where even K = 0 reads more than
the plain engine: inter-token latency hardly depends on the batch, so that a step 8% longer, as a drafter in memory
makes it, bought 29% more replicas (``make bench-fleet``, diurnal). Such pods are better started plain.
"""

from collections.abc import Sequence

from turbospec.fleet.autoscalers import AutoscalerView
from turbospec.fleet.preserve import PreserveMemory
from turbospec.fleet.readings import EngineCurves, Kind, kind_of
from turbospec.fleet.scale_events import usage_ratio
from turbospec.fleet.worth import Worth

LEAST = -1.0
"""Twice the replicas, or more: where the target cannot be met with the drafter at all there is no number."""


def replicas_saved(
    memory: PreserveMemory,
    engine: EngineCurves,
    plain: EngineCurves,
    hpa: AutoscalerView,
    *,
    draft_tokens: Sequence[int],
    kv_share: float,
) -> float | None:
    """Share of a plain fleet's replicas that this autoscaler does without, at the best of ``draft_tokens``; below 0 it
    asks for more. None where no metric tells.

    ``engine`` has the drafter; ``kv_share`` is its KV cache over that of ``plain``. Of several metrics the least, as
    the controller takes the largest.
    """
    found = []
    for metric in hpa.metrics:
        kind, ratio = kind_of(metric), usage_ratio(metric)
        if kind is None or ratio is None or ratio <= 0.0 or memory.shown.get(kind, 0.0) <= 0.0:
            continue
        # The target, in what the curves read: up to the same factor as what is shown now.
        target = memory.shown[kind] / ratio
        without = plain.rate_at(kind, 0, target / (kv_share if kind is Kind.KV_CACHE else 1.0))
        if without > 0.0:
            able = max(engine.rate_at(kind, k, target) for k in draft_tokens)
            found.append(max(LEAST, 1.0 - without / able) if able > 0.0 else LEAST)
    return min(found, default=None)


def under_preserve(worth: Worth | None, known: PreserveMemory | None) -> Worth | None:
    """No more than what this autoscaler lets be saved, however much less the pods have to do."""
    if worth is None or known is None or known.saved is None or known.saved >= worth.high:
        return worth
    return Worth(min(worth.low, known.saved), known.saved, kept=True)
