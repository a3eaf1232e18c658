"""The load signal of every (scale target, profile key), from what its engines report. See ``capacity`` for the formula.

Ready pods that do not answer are taken to be like the others, as long as most answer: a signal that vanished with one
silent pod would leave an autoscaler blind, and one that left it out would remove the pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet import demand as offered
from turbospec.fleet import queried
from turbospec.fleet.capacity import Attainable, Capability, LoadSignal, attainable, load_signal
from turbospec.fleet.demand import DemandMemory, Lengths, RequestCounts
from turbospec.fleet.documents import DocumentKind, read_id
from turbospec.fleet.load_memory import LoadKey, LoadMemory, UnknownLoad
from turbospec.fleet.pooling import MAX_WEIGHT_SAMPLES, YOUNG_SAMPLES, Pools
from turbospec.fleet.profiles import FittingProfile, ProfileKey
from turbospec.fleet.snapshot import EngineReport, Mode, PodView, PolicyView
from turbospec.fleet.standing import allowed_draft_tokens
from turbospec.fleet.trend import start_seconds

LOST_SECONDS = 60.0
"""After a pause longer than this (an operator that did not run) nobody knows when requests came in it."""

KEPT_SECONDS = 3600.0
"""How long lengths are kept for a target without pods: scaled to zero and back, the text is the same."""


@dataclass(frozen=True, slots=True)
class LoadSituation:
    """What the pods of one policy are judged on. ``targets`` names the scale target of every pod, by its uid.

    ``bounds`` holds the K that some keys' engines may use, where not all that the policy allows.
    ``requests_per_second`` is what comes by the policy's own query, None where engines' counts are to be taken;
    ``growth`` by what factor it grows within the policy's horizon, by scale target, where history tells.
    """

    policy: PolicyView
    pods: Sequence[PodView]
    targets: Mapping[str, str]
    profiles: Mapping[ProfileKey, FittingProfile]
    pools: Pools
    now_seconds: float
    bounds: Mapping[LoadKey, tuple[int, ...]] = field(default_factory=dict)
    requests_per_second: float | None = None
    growth: Mapping[tuple[str, str], float] = field(default_factory=dict)


def observe_load(situation: LoadSituation, memory: Mapping[LoadKey, LoadMemory]) -> dict[LoadKey, LoadMemory]:
    """The loads of this policy's pods, and what is remembered of its targets that have none at the moment."""
    now, grouped = situation.now_seconds, engines_by_key(situation)
    silent: dict[str, int] = {}
    for pod in situation.pods:
        if pod.report is None and pod.ready:
            target = situation.targets[pod.uid]
            silent[target] = silent.get(target, 0) + 1
    answering: dict[str, int] = {}
    for (_, target, _), members in grouped.items():
        answering[target] = answering.get(target, 0) + sum(pod.ready for pod, _ in members)
    ready = {key: sum(pod.ready for pod, _ in members) for key, members in grouped.items()}
    parts = queried.shares(ready, memory)
    found = {}
    for key, members in sorted(grouped.items(), key=lambda entry: entry[0]):
        # Of a target's silent pods each profile key gets its share.
        known = answering[key[1]]
        share = silent.get(key[1], 0) * ready[key] / known if known else 0.0
        whole = situation.requests_per_second
        given = replace(situation, requests_per_second=None if whole is None else whole * parts[key])
        found[key] = _observe(given, key, members, share, memory.get(key, LoadMemory(now)))
    return found


def engines_by_key(situation: LoadSituation) -> Mapping[LoadKey, Sequence[tuple[PodView, EngineReport]]]:
    """The pods of this policy that answer, Ready or not, with what their engines say."""
    found: dict[LoadKey, list[tuple[PodView, EngineReport]]] = {}
    for pod in situation.pods:
        if pod.report is not None:
            key = (situation.policy.namespace, situation.targets[pod.uid], pod.report.profile_key)
            found.setdefault(key, []).append((pod, pod.report))
    return found


def forget_load(memory: Mapping[LoadKey, LoadMemory], now_seconds: float) -> dict[LoadKey, LoadMemory]:
    """What to remember of keys that nothing was observed of in this round: no signal, but their lengths for a while."""
    return {
        key: LoadMemory(entry.seconds, demand=offered.forget_rate(entry.demand), unknown=UnknownLoad.NO_READY_POD)
        for key, entry in memory.items()
        if now_seconds - entry.seconds < KEPT_SECONDS
    }


def fleet_estimates(reports: Iterable[EngineReport]) -> tuple[PositionEstimate, ...]:
    """Acceptance and yield by position over engines that serve one text, weighted by what they have seen.

    Unlike the pool that peers are told, this holds what engines infer of positions that they do not draft: what pods
    could do may not depend on what they do.
    """
    known = sorted((r for r in reports if r.acceptance and r.acceptance[0] is not None), key=lambda r: r.engine_id)
    grown = [report for report in known if report.acceptance_samples[0] >= YOUNG_SAMPLES] or known
    found: list[PositionEstimate] = []
    for j in range(max((len(report.acceptance) for report in grown), default=0)):
        accepted = [(a, _weight(r)) for r in grown if j < len(r.acceptance) and (a := r.acceptance[j]) is not None]
        yields = [(y, _weight(r)) for r in grown if j < len(r.draft_yield) and (y := r.draft_yield[j]) is not None]
        if not accepted:
            break
        found.append(PositionEstimate(_mean(accepted), _mean(yields) if yields else None, sum(w for _, w in accepted)))
    return tuple(found)


def text_of(situation: LoadSituation, key: LoadKey, reports: Iterable[EngineReport]) -> tuple[PositionEstimate, ...]:
    """Acceptance of the text that these engines serve; where none of them knows, what is remembered of those before."""
    return fleet_estimates(reports) or tuple(
        PositionEstimate(entry.acceptance, None, entry.samples) for entry in situation.pools.remembered.get(key[2], ())
    )


def capability(
    policy: PolicyView,
    report: EngineReport,
    profile: FittingProfile,
    estimates: tuple[PositionEstimate, ...],
    bounds: tuple[int, ...] | None = None,
) -> Capability | None:
    """What this engine may run now; None without a latency model, or where not even its table is known.

    Steered engines may use every K that policy and graphs allow, within ``bounds`` where there are some. Under a policy
    that is paused or only advises, an engine loop that was once started goes on; otherwise the engine keeps to its
    table, as one that is refused does.
    """
    if profile.latency is None:
        return None
    allowed = allowed_draft_tokens(policy, report)
    if bounds is not None:
        allowed = tuple(k for k in allowed if k in bounds) or allowed[:1]
    loops = read_id(report.applied_id).kind in (DocumentKind.LOCAL, DocumentKind.WAITING)
    steered = report.unsupported_code is None and bool(allowed) and (policy.mode is Mode.ENFORCE or loops)
    if not steered and not report.table:
        return None
    return Capability(
        latency=profile.latency,
        estimates=estimates,
        draft_tokens=allowed if steered else tuple(sorted({row.draft_tokens for row in report.table})),
        max_num_seqs=report.max_num_seqs,
        max_num_batched_tokens=report.max_num_batched_tokens,
        kv_cache_tokens=report.kv_cache_tokens,
        table=None if steered else report.table,
        graph_sizes=report.graph_sizes,
        objective=policy.objective,
    )


def _observe(
    situation: LoadSituation,
    key: LoadKey,
    members: Sequence[tuple[PodView, EngineReport]],
    silent: float,
    known: LoadMemory,
) -> LoadMemory:
    now = situation.now_seconds
    elapsed = now - known.seconds
    heard = {pod.uid: (report.engine_id, report.requests) for pod, report in members if report.requests is not None}
    past = known.demand
    if elapsed > LOST_SECONDS or not known.heard:
        past = offered.forget_rate(past)
    else:
        past = offered.observe(past, _happened(known.heard, heard), elapsed)
    ready = [report for pod, report in members if pod.ready]
    starts = start_seconds((pod.created_seconds, pod.ready_since_seconds) for pod, _ in members if pod.ready)
    group = _Group(key, ready, silent, starts)
    signal = _signal(situation, group, past)
    kept = {uid: counts for uid, counts in known.heard.items() if elapsed <= LOST_SECONDS} | heard
    there = {pod.uid for pod in situation.pods}
    return LoadMemory(
        now,
        {uid: counts for uid, counts in kept.items() if uid in there},
        past,
        signal if isinstance(signal, LoadSignal) else None,
        signal if isinstance(signal, UnknownLoad) else None,
        len(ready),
        round(silent),
    )


def _happened(
    before: Mapping[str, tuple[str, RequestCounts]], now: Mapping[str, tuple[str, RequestCounts]]
) -> RequestCounts:
    """What all engines counted since they were last heard; one that is new, or has restarted, counts from here on."""
    total = RequestCounts(0, 0, 0, 0, 0, 0)
    for uid, (engine, counts) in now.items():
        known = before.get(uid)
        if known is not None and known[0] == engine:
            total = offered.plus(total, offered.between(known[1], counts))
    return total


@dataclass(frozen=True, slots=True)
class _Group:
    """The engines of one key whose pods are Ready: what others are asked (probes, warm-up prompts) is nobody's text.

    ``start_seconds`` is how long one takes until its pod is Ready.
    """

    key: LoadKey
    ready: Sequence[EngineReport]
    silent: float
    start_seconds: float


def _signal(situation: LoadSituation, group: _Group, past: DemandMemory) -> LoadSignal | UnknownLoad:
    ready, silent = group.ready, group.silent
    if not ready:
        return UnknownLoad.NO_READY_POD
    if silent > len(ready) or any(report.requests is None for report in ready):
        return UnknownLoad.NOT_REPORTED
    # To silent pods as many come, and as many wait in them.
    alike = 1.0 + silent / len(ready)
    counted = offered.demand(past, sum(report.waiting for report in ready), group.start_seconds)
    lengths = offered.lengths(past)
    if counted is None:
        return UnknownLoad.STARTING
    if lengths is None:
        return UnknownLoad.TOO_FEW_REQUESTS
    pods = _attainable(situation, group, lengths)
    if isinstance(pods, UnknownLoad):
        return pods
    demand = queried.instead(counted.times(alike), situation.requests_per_second)
    growth = situation.growth.get(group.key[:2])
    if growth is not None:
        demand = replace(demand, expected_per_second=growth * demand.requests_per_second)
    return load_signal(demand, lengths, pods, silent=silent) or UnknownLoad.NO_READY_POD


def _attainable(situation: LoadSituation, group: _Group, lengths: Lengths) -> list[Attainable] | UnknownLoad:
    """One entry per engine; pods of one template are alike, so few are worked out."""
    namespace, _, key = group.key
    profile = situation.profiles.get((namespace, key))
    if profile is None or profile.latency is None:
        return UnknownLoad.NO_PROFILE
    estimates = text_of(situation, group.key, group.ready)
    known: dict[object, Attainable | None] = {}
    found = []
    for report in group.ready:
        engine = capability(situation.policy, report, profile, estimates, situation.bounds.get(group.key))
        if engine is None:
            return UnknownLoad.NOT_REPORTED
        limits = (engine.max_num_seqs, engine.max_num_batched_tokens, engine.kv_cache_tokens, engine.graph_sizes)
        alike = (engine.draft_tokens, engine.table, limits)
        if alike not in known:
            known[alike] = attainable(engine, lengths)
        rates = known[alike]
        if rates is None:
            return UnknownLoad.NO_ACCEPTANCE
        found.append(rates)
    return found


def _weight(report: EngineReport) -> float:
    return max(1.0, min(report.acceptance_samples[0], MAX_WEIGHT_SAMPLES))


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted)
