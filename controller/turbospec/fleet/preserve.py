"""Draft lengths with which an autoscaler's distorted metric asks for no more replicas than it would at K = 0.

``spec.autoscaling.preserve`` is for whoever cannot change the metric. What the metric reads now is known, and by which
factor each K moves it (``readings``); from both follows what the HorizontalPodAutoscaler would ask for at each K, by
its own arithmetic. A K that would make it ask for more than K = 0 does is not allowed, until that has changed for a
while.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from turbospec.fleet.autoscalers import AutoscalerView
from turbospec.fleet.readings import EngineCurves, Kind, kind_of
from turbospec.fleet.scale_events import usage_ratio
from turbospec.fleet.snapshot import EngineReport

HALF_LIFE_SECONDS = 30.0
"""What engines run is averaged as long as what autoscalers read: rates over a minute, in most queries."""

LOST_SECONDS = 60.0
"""After a pause longer than this what was averaged before says nothing."""

MARGIN = 0.05
"""By how much K = 0 might read less, and another K more, than is predicted. The first lets K go before fewer replicas
would do, and not after the metric has shown it: pods that stay a minute longer each time are replica-hours too."""

HOLD_SECONDS = 300.0
"""For how long a K that was taken out stays out: the time for which the autoscaler remembers what was asked for."""


@dataclass(frozen=True, slots=True)
class PreserveMemory:
    """What is remembered of one scale target's pods of one profile key.

    ``rate`` is the delivered tokens per second of a pod, ``shown`` what a metric of each kind would read of it at the
    K in force; both fade. ``allowed`` holds the K that may be used, None where no bound is known and ``why`` says what
    for want of. ``taken_out`` is when a K was last not allowed, ``saved`` the share of a plain fleet's replicas
    that this autoscaler does without, where that is known.
    """

    seconds: float
    rate: float = 0.0
    shown: Mapping[Kind, float] = field(default_factory=dict)
    allowed: tuple[int, ...] | None = None
    taken_out: Mapping[int, float] = field(default_factory=dict)
    saved: float | None = None
    why: str = ""


def observe(
    known: PreserveMemory | None, curves: EngineCurves, reports: Sequence[EngineReport], now_seconds: float
) -> PreserveMemory:
    """Add what the ready engines run now."""
    # Sorted, because sums of floats depend on their order and decisions must not.
    running = sorted((report.running, report.draft_tokens or 0) for report in reports)
    rates = [curves.rate(k, batch) for batch, k in running]
    shown = {kind: _shown(kind, curves, running) for kind in Kind}
    if known is None or now_seconds - known.seconds > LOST_SECONDS or not known.shown:
        return PreserveMemory(now_seconds, fmean(rates), shown, taken_out=known.taken_out if known else {})
    kept = 0.5 ** (max(0.0, now_seconds - known.seconds) / HALF_LIFE_SECONDS)
    return replace(
        known,
        seconds=now_seconds,
        rate=kept * known.rate + (1.0 - kept) * fmean(rates),
        shown={kind: kept * known.shown[kind] + (1.0 - kept) * value for kind, value in shown.items()},
    )


def bounded(
    memory: PreserveMemory, curves: EngineCurves, hpa: AutoscalerView, draft_tokens: Sequence[int]
) -> PreserveMemory:
    """The memory with the K of ``draft_tokens`` (rising) that may be used now; the lowest always may.

    Where a metric has no value, as with nobody to serve, what was allowed stays so, and at first it is the lowest: what
    the autoscaler will read first is then what it would have read before.
    """
    now, lowest = memory.seconds, draft_tokens[0]
    if hpa.current is None or any(usage_ratio(metric) is None for metric in hpa.metrics if kind_of(metric)):
        return memory if memory.allowed is not None else replace(memory, allowed=(lowest,))
    most = asked(memory, curves, hpa, 0, 1.0 - MARGIN)
    fits = {k for k in draft_tokens if k in curves.draft_tokens and asked(memory, curves, hpa, k, 1.0 + MARGIN) <= most}
    out = {k: now if k not in fits else memory.taken_out.get(k, -math.inf) for k in draft_tokens}
    # A clock that was put back would hold them for as long as it was off.
    held = {k for k, since in out.items() if 0.0 <= now - since < HOLD_SECONDS}
    allowed = tuple(k for k in draft_tokens if k == lowest or k not in held)
    return replace(memory, allowed=allowed, taken_out=out, why="")


def asked(memory: PreserveMemory, curves: EngineCurves, hpa: AutoscalerView, draft_tokens: int, factor: float) -> int:
    """Replicas that the autoscaler would ask for at this K, were each moved metric off by ``factor``.

    As the controller does it: each metric asks by itself, the largest wins, within the bounds.
    """
    replicas = hpa.current or 0
    most = 0
    for metric in hpa.metrics:
        ratio, kind = usage_ratio(metric), kind_of(metric)
        if ratio is None:
            continue
        if kind is not None and memory.shown[kind] > 0.0:
            ratio *= factor * curves.reading(kind, draft_tokens, memory.rate) / memory.shown[kind]
        tolerable = -hpa.down.tolerance <= ratio - 1.0 <= hpa.up.tolerance
        most = max(most, replicas if tolerable else math.ceil(round(ratio * replicas, 6)))
    return min(max(most, hpa.min_replicas), hpa.max_replicas)


def moved(hpa: AutoscalerView) -> bool:
    """Whether some metric of this autoscaler can be kept from buying replicas."""
    return any(kind_of(metric) is not None for metric in hpa.metrics)


def _shown(kind: Kind, curves: EngineCurves, running: Iterable[tuple[int, int]]) -> float:
    """Mean over pods; of inter-token latency over its samples, of which there are as many as requests in a step."""
    pairs = [(curves.reading(kind, k, curves.rate(k, batch)), batch) for batch, k in running]
    if kind is not Kind.STEP_TIME:
        return fmean(value for value, _ in pairs)
    total = sum(batch for _, batch in pairs)
    return sum(value * batch for value, batch in pairs) / total if total else 0.0
