"""What one round knows of the whole fleet, before it looks at each policy."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from turbospec.fleet import drift
from turbospec.fleet.effects import CreateProfilingJob, HarvestProfile, WriteServedProfile
from turbospec.fleet.job_situation import JobSituation
from turbospec.fleet.job_times import JobName, JobSight, look
from turbospec.fleet.load_memory import LoadKey
from turbospec.fleet.matching import Governance, govern, seniority
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.preserve import PreserveMemory
from turbospec.fleet.preserve_round import keep_replicas, narrowed
from turbospec.fleet.profile_standing import ProfileStanding
from turbospec.fleet.profiles import FittingProfile, ProfileKey, fitting_profiles
from turbospec.fleet.profiling import Candidate, plan_profiling
from turbospec.fleet.reuse import with_stand_ins
from turbospec.fleet.scale_events import ScaleEvent, classify, moving_owners
from turbospec.fleet.scaling import ScaleTarget, scale_targets, targets_by_pod
from turbospec.fleet.serving_profile import plan_served
from turbospec.fleet.settling import scaling_owners
from turbospec.fleet.snapshot import FleetSnapshot, PodView, PolicyView
from turbospec.fleet.standing import allowed_draft_tokens, last_report


@dataclass(frozen=True)
class Survey:
    """``policies`` come oldest first. ``candidates`` are the engines that can be controlled, by pod uid.

    ``targets`` and ``scale_events`` are keyed by (namespace, scale target); ``target_of`` names it by pod uid.
    ``profiles`` hold what each place's engines are controlled by, their own or a stand-in; ``standings`` say how that
    came about, by policy uid and profile key. ``preserved`` are bounds on K, in the candidates already.
    """

    snapshot: FleetSnapshot
    policies: tuple[PolicyView, ...]
    governance: Governance
    targets: Mapping[tuple[str, str], ScaleTarget]
    target_of: Mapping[str, str]
    scale_events: Mapping[tuple[str, str], ScaleEvent]
    candidates: Mapping[str, Candidate]
    profiles: Mapping[ProfileKey, FittingProfile]
    standings: Mapping[tuple[str, str], ProfileStanding]
    agreement: drift.DriftRound
    requests: tuple[CreateProfilingJob | HarvestProfile, ...]
    grown: tuple[WriteServedProfile, ...]
    served: Mapping[ProfileKey, float]
    jobs: Mapping[JobName, JobSight]
    preserved: Mapping[LoadKey, PreserveMemory]

    @property
    def now_seconds(self) -> float:
        """The snapshot's time."""
        return self.snapshot.now_seconds

    @cached_property
    def shared_targets(self) -> frozenset[tuple[str, str]]:
        """Scale targets with pods of several policies."""
        governed = (
            {(pod.namespace, self.target_of[pod.uid]) for pod in pods} for pods in self.governance.pods.values()
        )
        policies = Counter(place for places in governed for place in places)
        return frozenset(place for place, number in policies.items() if number > 1)

    def governed(self, policy: PolicyView) -> tuple[PodView, ...]:
        """The pods of this policy."""
        return self.governance.pods.get(policy.uid, ())


def survey(snapshot: FleetSnapshot, memory: FleetMemory) -> Survey:
    """Who governs whom, what replicas do, which profiles fit, and which are to be measured. Pure and total."""
    now = snapshot.now_seconds
    policies = tuple(sorted(snapshot.policies, key=seniority))
    governance = govern(policies, snapshot.pods)
    targets = scale_targets(snapshot.pods, snapshot.autoscalers, now, snapshot.foreign_autoscalers)
    target_of = targets_by_pod(targets)
    scale_events = {place: classify(target, now) for place, target in targets.items()}
    candidates = _candidates(policies, governance, memory, now)
    own = fitting_profiles(snapshot.profiles, _places(governance, candidates.values()))
    agreement = drift.judge(candidates.values(), own, memory.drift, now)
    jobs = JobSituation(
        snapshot.jobs,
        memory.requested,
        now,
        look(snapshot.jobs, memory.jobs, now),
        snapshot.obstacles,
        scaling=scaling_owners(snapshot.pods, now) | moving_owners(targets, scale_events),
        drifted=agreement.drifted,
    )
    plan = plan_profiling(candidates.values(), own, jobs)
    grown, served = plan_served(candidates.values(), own, memory.served, now, jobs.forbidden)
    profiles, standings = with_stand_ins(snapshot.profiles, candidates.values(), own, plan.standings)
    kept = keep_replicas(candidates.values(), targets, profiles, memory, now)
    return Survey(
        snapshot=snapshot,
        policies=policies,
        governance=governance,
        targets=targets,
        target_of=target_of,
        scale_events=scale_events,
        candidates=narrowed(candidates, target_of, kept),
        profiles=profiles,
        standings=standings,
        agreement=agreement,
        requests=plan.effects,
        grown=grown,
        served=served,
        jobs=jobs.sights,
        preserved=kept,
    )


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
