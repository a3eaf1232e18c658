"""One round of the fleet loop: from what was observed to what is to be done."""

from collections.abc import Iterable, Mapping, Sequence

from turbospec.fleet import pooling, status
from turbospec.fleet.conditions import PolicyFindings
from turbospec.fleet.effects import CreateProfilingJob, Effect, EnsureRuntime, HarvestProfile, PushControl
from turbospec.fleet.engines import (
    EngineRound,
    EngineStanding,
    FleetKnowledge,
    allowed_draft_tokens,
    decide_engine,
    obstacle,
)
from turbospec.fleet.events import events
from turbospec.fleet.matching import Governance, govern, seniority
from turbospec.fleet.memory import EngineMemory, FleetMemory, PolicyMemory, PoolMemory, request_key
from turbospec.fleet.pooling import Pools
from turbospec.fleet.profiles import FittingProfile, ProfileKey, fitting_profiles
from turbospec.fleet.profiling import Candidate, ProfileStanding, plan_profiling
from turbospec.fleet.snapshot import FleetSnapshot, PodView, PolicyView

__all__ = ["FleetMemory", "decide"]

RUNTIME_SECONDS = 30.0
"""How often the runtime ConfigMap is ensured: pods that start without it serve without TurboSpec."""

REQUEST_MEMORY_SECONDS = 3600.0
"""How long requests are remembered: longer than any pause between attempts, short enough to stay small."""


def decide(snapshot: FleetSnapshot, memory: FleetMemory) -> tuple[tuple[Effect, ...], FleetMemory]:
    """Decide one round. Pure and total: equal arguments give equal answers, whatever the order of the snapshot's items.

    Effects are idempotent and come in an order that may be kept: runtimes, Jobs and harvests, documents, statuses, events.
    """
    now = snapshot.now_seconds
    policies = sorted(snapshot.policies, key=seniority)
    governance = govern(policies, snapshot.pods)
    profiles = fitting_profiles(snapshot.profiles)
    plan = plan_profiling(_candidates(policies, governance), profiles, snapshot.jobs, memory.requested, now)
    requests = [*_runtimes(policies, memory, now), *plan.effects]
    pushes: list[PushControl] = []
    reports: list[Effect] = []
    engines: dict[str, EngineMemory] = {}
    pool_memories: dict[tuple[str, str], PoolMemory] = {}
    written: dict[str, PolicyMemory] = {}
    for policy in policies:
        governed = governance.pods.get(policy.uid, ())
        pools = pooling.pools_of(policy, governed, memory.pools, now)
        pool_memories.update(pooling.remember(policy, pools, memory.pools, now))
        rounds = [
            _engine_round(policy, pod, plan.standings, profiles, pools, memory.engines.get(pod.uid), now)
            for pod in governed
        ]
        for outcome in rounds:
            pushes.extend(outcome.pushes)
            if outcome.memory is not None:
                engines[outcome.standing.pod.uid] = outcome.memory
        findings = _findings(snapshot, policy, [outcome.standing for outcome in rounds], plan.standings, governance)
        effects, written[policy.uid] = _report(findings, memory.policies.get(policy.uid), now)
        reports.extend(effects)
    remembered = FleetMemory(engines, pool_memories, written, _requested(memory, requests, now))
    return (*requests, *pushes, *reports), remembered


def _candidates(policies: Iterable[PolicyView], governance: Governance) -> list[Candidate]:
    """Every engine that could be controlled, oldest policy first."""
    return [
        Candidate(policy, pod, pod.report.profile_key, allowed_draft_tokens(policy, pod.report))
        for policy in policies
        for pod in governance.pods.get(policy.uid, ())
        if obstacle(policy, pod) is None and pod.report is not None
    ]


def _runtimes(policies: Iterable[PolicyView], memory: FleetMemory, now: float) -> list[EnsureRuntime]:
    """The runtime in every namespace with a policy, even an invalid one: its pods may start before it is corrected."""
    wanted = [EnsureRuntime(namespace) for namespace in sorted({policy.namespace for policy in policies})]
    return [
        effect for effect in wanted if now - memory.requested.get(request_key(effect), float("-inf")) >= RUNTIME_SECONDS
    ]


def _engine_round(
    policy: PolicyView,
    pod: PodView,
    standings: Mapping[tuple[str, str], ProfileStanding],
    profiles: Mapping[ProfileKey, FittingProfile],
    pools: Pools,
    remembered: EngineMemory | None,
    now: float,
) -> EngineRound:
    blocked = obstacle(policy, pod)
    if blocked is not None or pod.report is None:
        return EngineRound(blocked or EngineStanding(pod, False, "EngineUnreachable", ""), memory=remembered)
    key = pod.report.profile_key
    fleet = FleetKnowledge(
        profiles.get((pod.namespace, key)), standings[policy.uid, key], pools.for_engine(key, pod.uid)
    )
    return decide_engine(policy, pod, pod.report, fleet, remembered, now)


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
