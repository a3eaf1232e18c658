"""One policy in one round of the fleet loop: its engines' documents, its load, its status and events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from turbospec.fleet import breaker, forecast, pooling, queried, status
from turbospec.fleet.conditions import PolicyFindings
from turbospec.fleet.effects import Effect, PushControl
from turbospec.fleet.engines import EngineRound, EngineSituation, decide_engine
from turbospec.fleet.events import events
from turbospec.fleet.load import LoadSituation, observe_load
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.memory import EngineMemory, FleetMemory, PolicyMemory, PoolMemory
from turbospec.fleet.plain_profiles import with_plain_engines
from turbospec.fleet.pooling import Pools
from turbospec.fleet.preserve_round import preserved
from turbospec.fleet.preserve_worth import under_preserve
from turbospec.fleet.snapshot import Mode, PodView, PolicyView
from turbospec.fleet.standing import EngineStanding, obstacle
from turbospec.fleet.startup_variant import VariantMemory
from turbospec.fleet.survey import Survey
from turbospec.fleet.value import observe_value
from turbospec.fleet.variants import VariantSituation, decide_variants
from turbospec.fleet.worth import Value
from turbospec.fleet.worthwhile import TargetValue


@dataclass(frozen=True)
class PolicyRound:
    """What is to be done for one policy, and what is remembered of it. ``engines`` is keyed by pod uid."""

    pushes: tuple[PushControl, ...]
    reports: tuple[Effect, ...]
    engines: Mapping[str, EngineMemory]
    pools: Mapping[tuple[str, str], PoolMemory]
    loads: Mapping[LoadKey, LoadMemory]
    values: Mapping[LoadKey, Value]
    written: PolicyMemory
    failed_starts: breaker.Failures
    variants: Mapping[tuple[str, str], VariantMemory]


def decide_policy(policy: PolicyView, fleet: Survey, memory: FleetMemory) -> PolicyRound:
    """Decide one policy. Pure and total; the memory is the whole fleet's, as it was before this round."""
    now, governed = fleet.now_seconds, fleet.governed(policy)
    # What a pod is asked before it is Ready (probes, warm-up prompts) is nobody's text.
    pools = pooling.pools_of(policy, [pod for pod in governed if pod.ready], memory.pools, now)
    engines = {pod.uid: _engine(policy, pod, fleet, pools, memory.engines.get(pod.uid)) for pod in governed}
    stopped, failed_starts = breaker.judge(policy, governed, memory.failed_starts.get(policy.uid, ()))
    kept = fleet.preserved if policy.preserve else {}
    bounds = {key: entry.allowed for key, entry in kept.items() if entry.allowed}
    coming = queried.usable(queried.of_policy(fleet.snapshot.queried, policy), now)
    growth = forecast.factors(policy, fleet.snapshot.history, _places(policy, fleet), now)
    load = LoadSituation(policy, governed, fleet.target_of, fleet.profiles, pools, now, bounds, coming, growth)
    profiles = with_plain_engines(fleet.snapshot.profiles, governed, fleet.profiles)
    loads = observe_load(replace(load, profiles=profiles), memory.loads)
    # What was known of a target that several policies share may be another one's.
    known = {key: value for key, value in memory.values.items() if key[:2] not in fleet.shared_targets}
    values = observe_value(load, loads, known)
    worths = {key: under_preserve(value.worth, kept.get(key)) for key, value in values.items()}
    started = VariantSituation(policy, governed, fleet.target_of, fleet.targets, worths, now)
    variants = decide_variants(started, memory.variants)
    findings = _findings(policy, fleet, [fleet.agreement.mark(each.standing) for each in engines.values()])
    findings = replace(findings, stopped=stopped, variants=variants.rows, values=_valued(values, loads))
    reports, written = _report(findings, memory.policies.get(policy.uid), now)
    return PolicyRound(
        pushes=tuple(push for each in engines.values() for push in each.pushes),
        reports=(*reports, *variants.events),
        engines={uid: each.memory for uid, each in engines.items() if each.memory is not None},
        pools=pooling.remember(policy, pools, memory.pools, now),
        loads=loads,
        values=values,
        written=written,
        failed_starts=failed_starts,
        variants=variants.memory,
    )


def _engine(
    policy: PolicyView, pod: PodView, fleet: Survey, pools: Pools, remembered: EngineMemory | None
) -> EngineRound:
    candidate = fleet.candidates.get(pod.uid)
    profiling = None if candidate is None else fleet.standings[policy.uid, candidate.key]
    if candidate is None or profiling is None or pod.report is None:
        profile = None if profiling is None else profiling.profile
        return EngineRound(obstacle(policy, pod, remembered, profile, fleet.now_seconds), memory=remembered)
    situation = EngineSituation(
        policy=policy,
        pod=pod,
        report=pod.report,
        allowed=candidate.allowed,
        profile=fleet.profiles.get(candidate.place),
        profiling=profiling,
        pool=pools.for_engine(candidate.key, pod.uid),
        now_seconds=fleet.now_seconds,
    )
    return decide_engine(situation, remembered)


def _findings(policy: PolicyView, fleet: Survey, engines: Sequence[EngineStanding]) -> PolicyFindings:
    keys = sorted(key for uid, key in fleet.standings if uid == policy.uid)
    elsewhere = {other.namespace for other in fleet.policies} - {policy.namespace}
    targets = _places(policy, fleet)
    where = (policy.namespace, policy.name)
    advice = (each for each in fleet.snapshot.advice if (each.namespace, each.policy) == where)
    denied = [entry for entry in fleet.snapshot.denied if not any(f" in {name}:" in entry for name in elsewhere)]
    return PolicyFindings(
        policy=policy,
        engines=tuple(engines),
        profiles=tuple(fleet.standings[policy.uid, key] for key in keys),
        overlaps=fleet.governance.overlaps.get(policy.uid, ()),
        denied=tuple(sorted(denied)),
        targets=tuple(fleet.targets[place] for place in targets),
        demand=queried.condition(policy, queried.of_policy(fleet.snapshot.queried, policy), fleet.now_seconds),
        history=forecast.condition(policy, fleet.snapshot.history, targets, fleet.now_seconds),
        preserved=preserved(fleet.preserved, targets) if policy.preserve else {},
        drift=fleet.agreement.of(policy.uid),
        advice=next(advice, None) if policy.mode is Mode.ADVISE else None,
    )


def _valued(values: Mapping[LoadKey, Value], loads: Mapping[LoadKey, LoadMemory]) -> tuple[TargetValue, ...]:
    signals = {key: load.signal for key, load in loads.items()}
    return tuple(TargetValue(key, value, signals.get(key)) for key, value in sorted(values.items()))


def _places(policy: PolicyView, fleet: Survey) -> tuple[tuple[str, str], ...]:
    """The scale targets of the policy's pods, with its namespace."""
    return tuple(dict.fromkeys((policy.namespace, fleet.target_of[pod.uid]) for pod in fleet.governed(policy)))


def _report(
    findings: PolicyFindings, known: PolicyMemory | None, now: float
) -> tuple[tuple[Effect, ...], PolicyMemory]:
    """The status and events of one policy, as far as they are due."""
    current = status.policy_status(findings)
    said = tuple(events(current, known, findings.policy))
    if known is not None and not status.is_due(current, known, findings.policy, now):
        return said, known
    return (current, *said), PolicyMemory(current, now)
