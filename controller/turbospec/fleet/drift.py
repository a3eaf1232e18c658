"""Drift: do the step times that engines measure agree with their profile? One that does not is an outlier; if most do
not, it is the profile."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from turbospec.control.region_fit import RegionFit
from turbospec.fleet.documents import local_base, read_id
from turbospec.fleet.effects import ConditionValue, EmitEvent, EngineAddress
from turbospec.fleet.memory import DriftMemory
from turbospec.fleet.profiles import FittingProfile, ProfileKey
from turbospec.fleet.profiling import Candidate
from turbospec.fleet.scaling import PodStage, stage_of
from turbospec.fleet.snapshot import ProfileSource
from turbospec.fleet.standing import EngineStanding

SETTLED_SECONDS = 30.0
"""How long engines must agree against their profile, or one differ from the others: longer than a neighbour's burst."""
ALONE_SECONDS = 600.0
"""How long it takes where only one engine can tell: then nobody knows whether the profile is wrong or the machine."""
ALONE_STEPS = 500
"""Compared steps that it takes too: an engine that is idle proves nothing by waiting."""
NAMED_PODS = 3
OUTLIER = "OutlierStepTimes"
"""Reason in the policy's engine row, and of the event on the pod."""


@dataclass(frozen=True, slots=True)
class DriftStanding:
    """How one profile agrees with the engines of one policy, as a condition: status, reason, message."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class DriftRound:
    """``drifted`` are the places whose profile is wrong, ``outliers`` what is off about single engines, by pod uid;
    ``standings`` are keyed by policy uid and profile key, for what could be compared."""

    standings: Mapping[tuple[str, str], DriftStanding]
    drifted: frozenset[ProfileKey]
    outliers: Mapping[str, str]
    events: tuple[EmitEvent, ...]
    memory: DriftMemory

    def of(self, policy_uid: str) -> tuple[DriftStanding, ...]:
        """Those of one policy."""
        return tuple(self.standings[place] for place in sorted(self.standings) if place[0] == policy_uid)

    def mark(self, standing: EngineStanding) -> EngineStanding:
        """The standing, with the reason that its step times are off where it alone is."""
        message = self.outliers.get(standing.pod.uid)
        if message is None or not standing.controlled:
            return standing
        return replace(standing, reason=OUTLIER, message=message)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the engines of one place say: who is outvoted by peers, and which regions are off for the others."""

    outvoted: frozenset[str] = frozenset()
    off: tuple[RegionFit, ...] = ()
    agreed: bool = False
    worst: RegionFit | None = None


@dataclass
class _Since:
    """Since when something has been so, without a break."""

    known: Mapping[tuple[str, ...], float]
    now: float
    found: dict[tuple[str, ...], float] = field(default_factory=dict)

    def lasts(self, seconds: float, *what: str) -> bool:
        """Note that it is so; whether it has been for so long."""
        since = self.found[what] = self.known.get(what, self.now)
        return self.now - since >= seconds


def judge(
    candidates: Iterable[Candidate],
    profiles: Mapping[ProfileKey, FittingProfile],
    memory: DriftMemory,
    now_seconds: float,
) -> DriftRound:
    """Compare engines of one key in one namespace with each other and with their profile, by octave of batches.

    Only engines count that run the latency model of the profile as it is now, and no longer warm up.
    """
    by_place: dict[ProfileKey, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda one: (one.pod.namespace, one.pod.name)):
        if _comparable(candidate, profiles.get(candidate.place), now_seconds):
            by_place.setdefault(candidate.place, []).append(candidate)
    since = _Since(memory.since, now_seconds)
    standings: dict[tuple[str, str], DriftStanding] = {}
    drifted: set[ProfileKey] = set()
    outliers: dict[str, str] = {}
    events: list[EmitEvent] = []
    for place, members in sorted(by_place.items()):
        profile = profiles[place]
        verdict = _verdict(members)
        wrong = bool(verdict.off) and since.lasts(
            SETTLED_SECONDS if verdict.agreed else ALONE_SECONDS, "drift", *place, str(verdict.agreed)
        )
        if wrong:
            drifted.add(place)
        slow = [one for one in members if one.pod.uid in verdict.outvoted]
        slow = [one for one in slow if since.lasts(SETTLED_SECONDS, "outlier", one.pod.uid)]
        for member in slow:
            outliers[member.pod.uid] = _outlier(member, profile, len(members) - len(verdict.outvoted))
            if member.pod.uid not in memory.said:
                events.append(_event(member, outliers[member.pod.uid]))
        for member in members:
            told = _standing(profile, members, verdict, slow, member, wrong=wrong)
            standings[member.policy.uid, member.key] = told
    said = frozenset(outliers)
    return DriftRound(standings, frozenset(drifted), outliers, tuple(events), DriftMemory(since.found, said))


def condition(standings: Sequence[DriftStanding]) -> ConditionValue | None:
    """ProfileAccurate of a policy, the worst of its profiles first; None where nothing could be compared yet."""
    if not standings:
        return None
    worst = min(standings, key=lambda one: ("False", "Unknown", "True").index(one.status))
    return ConditionValue("ProfileAccurate", worst.status, worst.reason, worst.message)


def _comparable(candidate: Candidate, profile: FittingProfile | None, now: float) -> bool:
    if profile is None or profile.latency is None or candidate.pod.report is None:
        return False
    if stage_of(candidate.pod, now) is not PodStage.SERVING:
        return False
    wanted = local_base(candidate.policy, candidate.allowed, profile.digest)
    return bool(candidate.report.regions) and read_id(candidate.report.applied_id).base == wanted


def _verdict(members: Sequence[Candidate]) -> _Verdict:
    """Votes by region: a side that no majority of the region's engines takes is outvoted, and so is who took it."""
    votes: dict[int, list[tuple[str, RegionFit]]] = {}
    for member in members:
        for region in member.report.regions:
            votes.setdefault(region.batch, []).append((member.pod.uid, region))
    outvoted: set[str] = set()
    for cast in votes.values():
        for side in (1, -1):
            taken = {uid for uid, region in cast if _side(region) == side}
            if 2 * len(taken) <= len(cast):
                outvoted |= taken
    off: list[RegionFit] = []
    fits: list[RegionFit] = []
    agreed = False
    for batch, cast in sorted(votes.items()):
        left = [region for uid, region in cast if uid not in outvoted]
        if not left:
            continue
        typical = RegionFit(batch, median(one.ratio for one in left), sum(one.steps for one in left), off=False)
        fits.append(typical)
        sides = [_side(region) for region in left]
        most = max(sides.count(1), sides.count(-1))
        if 2 * most > len(left) and (most > 1 or typical.steps >= ALONE_STEPS):
            off.append(replace(typical, off=True))
            agreed |= most > 1
    worst = max(off or fits, key=_distance, default=None)
    return _Verdict(frozenset(outvoted), tuple(off), agreed, worst)


def _standing(
    profile: FittingProfile,
    members: Sequence[Candidate],
    verdict: _Verdict,
    outliers: Sequence[Candidate],
    of: Candidate,
    *,
    wrong: bool,
) -> DriftStanding:
    engines = "1 engine" if len(members) == 1 else f"{len(members)} engines"
    if wrong:
        figures = ", ".join(_figure(region) for region in verdict.off)
        message = (
            f"step times of {engines} are not those of profile {profile.name}: {figures}. "
            f"Engines correct it meanwhile, up to a factor of two. {_remedy(of, profile)}"
        )
        return DriftStanding("False", "ProfileDrifted", message)
    measured = "" if verdict.worst is None else f", at most {_figure(verdict.worst)}"
    if verdict.off:
        message = f"step times of {engines} seem to be off profile {profile.name}{measured}; it is watched for a while."
        return DriftStanding("Unknown", "StepTimesInDoubt", message)
    apart = ""
    if outliers:
        named = ", ".join(one.pod.name for one in outliers[:NAMED_PODS])
        more = f" and {len(outliers) - NAMED_PODS} more" if len(outliers) > NAMED_PODS else ""
        apart = f" Apart from the others: {named}{more}, see their rows and events."
    message = f"step times of {engines} agree with profile {profile.name}{measured}.{apart}"
    return DriftStanding("True", "StepTimesAgree", message)


def _remedy(of: Candidate, profile: FittingProfile) -> str:
    if of.policy.profile_source is ProfileSource.JOB:
        return (
            "It is measured again (condition Profiled). While a Job that ended bears the new one's name, at most two "
            f"hours, that waits; to have it at once: kubectl delete job -n {of.pod.namespace} -l "
            f"turbospec.io/profiling-key={of.key}"
        )
    if profile.served:
        return "It is written anew from what they measure, within minutes."
    return f"Correct or replace SpeculationProfile {profile.name}, or set spec.profiling.source to Job."


def _outlier(member: Candidate, profile: FittingProfile, peers: int) -> str:
    regions = [region for region in member.report.regions if region.off]
    figures = ", ".join(_figure(region) for region in regions)
    others = "its peer's are" if peers == 1 else f"those of {peers} peers are"
    return (
        f"step times of this engine are not those of profile {profile.name} ({figures}), {others}: look at node "
        f"{member.pod.node or 'of the pod'} for neighbours, clocks, or other hardware than its labels say."
    )


def _event(member: Candidate, message: str) -> EmitEvent:
    pod, policy = member.pod, member.policy
    regarding = EngineAddress(pod.namespace, pod.name, pod.uid)
    return EmitEvent(policy.namespace, policy.name, policy.uid, "Warning", OUTLIER, message, regarding)


def _figure(region: RegionFit) -> str:
    last = 2 * region.batch - 1
    batches = f"batch {region.batch}" if last == region.batch else f"batches {region.batch}-{last}"
    return f"{region.ratio:.2f} x predicted at {batches}"


def _side(region: RegionFit) -> int:
    if not region.off:
        return 0
    return 1 if region.ratio > 1.0 else -1


def _distance(region: RegionFit) -> float:
    return max(region.ratio, 1.0 / max(region.ratio, 1e-9))
