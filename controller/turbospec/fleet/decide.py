"""One round of the fleet loop: from what was observed to what is to be done."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from turbospec.fleet import breaker, drift, pooling, status
from turbospec.fleet.conditions import PolicyFindings
from turbospec.fleet.effects import CreateProfilingJob, Effect, EnsureRuntime, HarvestProfile, PushControl
from turbospec.fleet.engines import EngineRound, EngineSituation, decide_engine
from turbospec.fleet.events import events
from turbospec.fleet.job_situation import JobSituation
from turbospec.fleet.job_times import look
from turbospec.fleet.load import LoadSituation, forget_load, observe_load
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.matching import Governance, govern, seniority
from turbospec.fleet.memory import EngineMemory, FleetMemory, PolicyMemory, PoolMemory, request_key
from turbospec.fleet.pooling import Pools
from turbospec.fleet.profile_standing import ProfileStanding
from turbospec.fleet.profile_status import ProfileUse, profile_statuses
from turbospec.fleet.profiles import FittingProfile, ProfileKey, fitting_profiles
from turbospec.fleet.profiling import Candidate, plan_profiling
from turbospec.fleet.reuse import with_stand_ins
from turbospec.fleet.scale_events import classify, moving_owners
from turbospec.fleet.scaling import scale_targets, targets_by_pod
from turbospec.fleet.serving_profile import plan_served
from turbospec.fleet.settling import scaling_owners
from turbospec.fleet.snapshot import FleetSnapshot, PodView, PolicyView
from turbospec.fleet.standing import EngineStanding, allowed_draft_tokens, last_report, obstacle

__all__ = ["FleetMemory", "decide"]

RUNTIME_SECONDS = 30.0
"""How often the runtime ConfigMap is ensured: pods that start without it serve without TurboSpec."""

REQUEST_MEMORY_SECONDS = 7200.0
"""How long requests are remembered: longer than any pause between attempts, short enough to stay small."""


def decide(snapshot: FleetSnapshot, memory: FleetMemory) -> tuple[tuple[Effect, ...], FleetMemory]:
    """Decide one round. Pure and total: equal arguments give equal answers, whatever the order of the snapshot's items.

    Effects are idempotent. They come in the order in which they are best carried out: runtimes, Jobs and harvests,
    documents, then statuses and events.
    """
    now = snapshot.now_seconds
    policies = sorted(snapshot.policies, key=seniority)
    governance = govern(policies, snapshot.pods)
    targets = scale_targets(snapshot.pods, snapshot.autoscalers, now)
    by_pod = targets_by_pod(targets)
    scale_events = {place: classify(target, now) for place, target in targets.items()}
    candidates = _candidates(policies, governance, memory, now)
    profiles = fitting_profiles(snapshot.profiles, _places(governance, candidates.values()))
    agreement = drift.judge(candidates.values(), profiles, memory.drift, now)
    sights = look(snapshot.jobs, memory.jobs, now)
    jobs = JobSituation(
        snapshot.jobs,
        memory.requested,
        now,
        sights,
        snapshot.obstacles,
        scaling=scaling_owners(snapshot.pods, now) | moving_owners(targets, scale_events),
        drifted=agreement.drifted,
    )
    plan = plan_profiling(candidates.values(), profiles, jobs)
    grown, served = plan_served(candidates.values(), profiles, memory.served, now, jobs.forbidden)
    profiles, standings = with_stand_ins(snapshot.profiles, candidates.values(), profiles, plan.standings)
    use = ProfileUse(tuple(candidates.values()), profiles, agreement.drifted, now)
    of_profiles, profile_memory = profile_statuses(snapshot.profiles, use, memory.profile_statuses)
    requests = [*_runtimes(policies, memory, now), *plan.effects]
    pushes: list[PushControl] = []
    reports: list[Effect] = []
    engines: dict[str, EngineMemory] = {}
    pool_memories: dict[tuple[str, str], PoolMemory] = {}
    written: dict[str, PolicyMemory] = {}
    failed_starts: dict[str, tuple[tuple[str, str], ...]] = {}
    loads: dict[LoadKey, LoadMemory] = {}
    for policy in policies:
        governed = governance.pods.get(policy.uid, ())
        # What a pod is asked before it is Ready (probes, warm-up prompts) is nobody's text.
        pools = pooling.pools_of(policy, [pod for pod in governed if pod.ready], memory.pools, now)
        pool_memories.update(pooling.remember(policy, pools, memory.pools, now))
        loads |= observe_load(LoadSituation(policy, governed, by_pod, profiles, pools, now), memory.loads)
        fleet = _Fleet(policy, profiles, standings, pools, now)
        rounds = [_engine_round(fleet, pod, candidates.get(pod.uid), memory.engines.get(pod.uid)) for pod in governed]
        for outcome in rounds:
            pushes.extend(outcome.pushes)
            if outcome.memory is not None:
                engines[outcome.standing.pod.uid] = outcome.memory
        stopped, failed_starts[policy.uid] = breaker.judge(policy, governed, memory.failed_starts.get(policy.uid, ()))
        engine_standings = [agreement.mark(outcome.standing) for outcome in rounds]
        findings = _findings(snapshot, policy, engine_standings, standings, governance)
        own = dict.fromkeys((policy.namespace, by_pod[pod.uid]) for pod in governed)
        scaled = tuple(targets[place] for place in own)
        findings = replace(findings, drift=agreement.of(policy.uid), targets=scaled, stopped=stopped)
        effects, written[policy.uid] = _report(findings, memory.policies.get(policy.uid), now)
        reports.extend(effects)
    reports.extend(agreement.events)
    unseen = {key: entry for key, entry in memory.loads.items() if key not in loads}
    loads |= forget_load(unseen, now)
    requested = _requested(memory, requests, now)
    remembered = FleetMemory(
        engines=engines,
        pools=pool_memories,
        policies=written,
        requested=requested,
        loads=loads,
        drift=agreement.memory,
        served=served,
        jobs=sights,
        failed_starts=failed_starts,
        scale_events=scale_events,
        profile_statuses=profile_memory,
    )
    return (*requests, *grown, *pushes, *of_profiles, *reports), remembered


@dataclass(frozen=True, slots=True)
class _Fleet:
    """What one policy's engines are decided on together."""

    policy: PolicyView
    profiles: Mapping[ProfileKey, FittingProfile]
    standings: Mapping[tuple[str, str], ProfileStanding]
    pools: Pools
    now_seconds: float


def _candidates(
    policies: Iterable[PolicyView], governance: Governance, memory: FleetMemory, now: float
) -> Mapping[str, Candidate]:
    """Every engine that can be controlled, by pod uid, oldest policy first; also one that has just fallen silent."""
    found: dict[str, Candidate] = {}
    for policy in policies:
        for pod in governance.pods.get(policy.uid, ()):
            report = last_report(pod, memory.engines.get(pod.uid), now)
            if report is not None and pod.injected and report.unsupported_code is None:
                allowed = allowed_draft_tokens(policy, report)
                if allowed:
                    found[pod.uid] = Candidate(policy, pod, report, allowed)
    return found


def _places(governance: Governance, candidates: Iterable[Candidate]) -> set[ProfileKey]:
    """Where a profile may be looked up: for engines to control, and for what the others are capable of."""
    reporting = {
        (pod.namespace, pod.report.profile_key) for pods in governance.pods.values() for pod in pods if pod.report
    }
    return reporting | {candidate.place for candidate in candidates}


def _runtimes(policies: Iterable[PolicyView], memory: FleetMemory, now: float) -> list[EnsureRuntime]:
    """The runtime in every namespace with a policy, even an invalid one: its pods may start before it is corrected."""
    wanted = [EnsureRuntime(namespace) for namespace in sorted({policy.namespace for policy in policies})]
    return [
        effect for effect in wanted if now - memory.requested.get(request_key(effect), float("-inf")) >= RUNTIME_SECONDS
    ]


def _engine_round(
    fleet: _Fleet, pod: PodView, candidate: Candidate | None, remembered: EngineMemory | None
) -> EngineRound:
    profiling = None if candidate is None else fleet.standings[fleet.policy.uid, candidate.key]
    if candidate is None or profiling is None or pod.report is None:
        profile = None if profiling is None else profiling.profile
        return EngineRound(obstacle(fleet.policy, pod, remembered, profile, fleet.now_seconds), memory=remembered)
    situation = EngineSituation(
        policy=fleet.policy,
        pod=pod,
        report=pod.report,
        allowed=candidate.allowed,
        profile=fleet.profiles.get(candidate.place),
        profiling=profiling,
        pool=fleet.pools.for_engine(candidate.key, pod.uid),
        now_seconds=fleet.now_seconds,
    )
    return decide_engine(situation, remembered)


def _findings(
    snapshot: FleetSnapshot,
    policy: PolicyView,
    engines: Sequence[EngineStanding],
    standings: Mapping[tuple[str, str], ProfileStanding],
    governance: Governance,
) -> PolicyFindings:
    keys = sorted(key for uid, key in standings if uid == policy.uid)
    elsewhere = {other.namespace for other in snapshot.policies} - {policy.namespace}
    return PolicyFindings(
        policy=policy,
        engines=tuple(engines),
        profiles=tuple(standings[policy.uid, key] for key in keys),
        overlaps=governance.overlaps.get(policy.uid, ()),
        denied=tuple(
            sorted(entry for entry in snapshot.denied if not any(f" in {name}:" in entry for name in elsewhere))
        ),
    )


def _report(findings: PolicyFindings, known: PolicyMemory | None, now: float) -> tuple[list[Effect], PolicyMemory]:
    """The status and events of one policy, as far as they are due."""
    current = status.policy_status(findings)
    said: list[Effect] = list(events(current, known, findings.policy))
    if known is not None and not status.is_due(current, known, findings.policy, now):
        return said, known
    return [current, *said], PolicyMemory(current, now)


def _requested(
    memory: FleetMemory, requests: Iterable[CreateProfilingJob | HarvestProfile | EnsureRuntime], now: float
) -> Mapping[tuple[str, str, str], float]:
    kept = {key: seconds for key, seconds in memory.requested.items() if now - seconds < REQUEST_MEMORY_SECONDS}
    return kept | {request_key(effect): now for effect in requests}
