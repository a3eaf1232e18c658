"""Profiling Jobs: when one is created, retried and harvested, and how the profile of a key stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from turbospec.fleet import aging
from turbospec.fleet.effects import CreateProfilingJob, HarvestProfile
from turbospec.fleet.job_queue import Want
from turbospec.fleet.job_situation import REQUEST_PAUSE_SECONDS, JobSituation
from turbospec.fleet.job_times import JobSight, ended_at
from turbospec.fleet.memory import request_key
from turbospec.fleet.profile_standing import ProfileReason, ProfileStanding, urgency
from turbospec.fleet.profiles import FittingProfile, ProfileKey, profile_name
from turbospec.fleet.snapshot import (
    EngineReport,
    JobPhase,
    JobView,
    Mode,
    PodView,
    PolicyView,
    ProfileSource,
    ProfilingCapacity,
)

FIRST_RETRY_SECONDS = 30.0
RETRY_FACTOR = 4.0
MAX_RETRY_SECONDS = 3600.0
"""Pauses after a failed Job: 30 s for a node that died, then 2, 8 and 32 minutes, then an hour each time, without end.
Most failures last (memory, arguments) until somebody corrects what cannot be seen from here; nobody should have to
remember to tell us then. A finished Job must be kept for longer than this: the newest one says which attempt it was."""

GROWING = (
    "no profile yet: engines learn their step times while serving, and a profile is written when they have seen K = 0, "
    "another K and four points of batch and context."
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that a policy governs and could control. ``allowed`` is the K it may use, never empty."""

    policy: PolicyView
    pod: PodView
    report: EngineReport
    allowed: tuple[int, ...]

    @property
    def key(self) -> str:
        """The profile key that the engine reports."""
        return self.report.profile_key

    @property
    def place(self) -> ProfileKey:
        """Where its profile is looked up."""
        return (self.pod.namespace, self.key)


@dataclass(frozen=True, slots=True)
class ProfilingPlan:
    """What to do now, and every (policy uid, key)'s standing."""

    effects: tuple[CreateProfilingJob | HarvestProfile, ...]
    standings: Mapping[tuple[str, str], ProfileStanding]


def job_name(key: str, attempt: int) -> str:
    """The one name of this key's Job in this attempt, so that creating it twice is creating it once."""
    return f"turbospec-profile-{key}" if attempt == 1 else f"turbospec-profile-{key}-{attempt}"


def retry_pause_seconds(attempt: int) -> float:
    """How long after the end of this attempt (from 1) the next one starts."""
    steps = min(attempt - 1, 8)  # far beyond the cap; an annotation edited to nonsense must not overflow
    return min(FIRST_RETRY_SECONDS * RETRY_FACTOR**steps, MAX_RETRY_SECONDS)


def plan_profiling(
    candidates: Iterable[Candidate], profiles: Mapping[ProfileKey, FittingProfile], situation: JobSituation
) -> ProfilingPlan:
    """Decide Jobs and harvests. ``candidates`` come oldest policy first.

    A Job is wanted for a key without any profile, even an invalid one (whoever edited it must decide), by a policy that
    is not paused, has source Job, and leaves more than one K to choose from. So too for a key whose profile has
    outlived such a policy's maximum age, or is among those that have ``drifted``.
    """
    by_place: dict[ProfileKey, list[Candidate]] = {}
    for candidate in candidates:
        by_place.setdefault(candidate.place, []).append(candidate)
    harvests: list[HarvestProfile] = []
    wants: dict[ProfileKey, Want] = {}
    shared: dict[ProfileKey, ProfileStanding] = {}
    for place, members in sorted(by_place.items()):
        wanting = [member for member in members if _wants_job(member)]
        profile, all_jobs = profiles.get(place), situation.of(place)
        gone_off, now = place in situation.drifted, situation.now_seconds
        overdue = [one for one in wanting if gone_off or aging.outlived(profile, one.policy, now)]
        if profile is not None and not overdue:
            shared[place] = _standing_of(profile)
        elif wanting:
            newer = aging.since(profile, all_jobs)
            effect, standing = _advance(place, overdue or wanting, newer, situation)
            if profile is not None:
                effect = aging.again(effect, all_jobs)
            shared[place] = _beside(profile, standing, now, drifted=gone_off)
            if isinstance(effect, CreateProfilingJob):
                wants[place] = Want(effect, (overdue or wanting)[0].policy.max_concurrent_nodes)
            elif effect is not None and situation.may_request(effect):
                harvests.append(effect)
    # A Job that was asked for a moment ago counts as a busy node; it is neither asked for again nor made to wait.
    fresh = {place: want for place, want in wants.items() if situation.may_request(want.job)}
    jobs = situation.next_jobs(list(fresh.values()))
    waiting = {place: want for place, want in fresh.items() if want.job not in jobs}
    shared |= {place: _in_the_queue(want, shared[place]) for place, want in waiting.items()}
    return ProfilingPlan((*jobs, *harvests), _standings(by_place, profiles, shared))


def _standings(
    by_place: Mapping[ProfileKey, list[Candidate]],
    profiles: Mapping[ProfileKey, FittingProfile],
    shared: Mapping[ProfileKey, ProfileStanding],
) -> Mapping[tuple[str, str], ProfileStanding]:
    """Of the members of a key, those whose K is pinned and those without a Job stand differently from the rest."""
    standings: dict[tuple[str, str], ProfileStanding] = {}
    for place, members in sorted(by_place.items()):
        standing = shared.get(place)
        for member in members:
            pinned = len(member.allowed) == 1 and place not in profiles
            own = _without_job(member) if pinned or standing is None else standing
            known = standings.setdefault((member.policy.uid, member.key), own)
            if urgency(own.reason) < urgency(known.reason):
                standings[member.policy.uid, member.key] = own
    return standings


def _wants_job(member: Candidate) -> bool:
    policy = member.policy
    return policy.profile_source is ProfileSource.JOB and policy.mode is not Mode.PAUSED and len(member.allowed) > 1


def _standing_of(profile: FittingProfile) -> ProfileStanding:
    if profile.invalid is None:
        measured = f" ({profile.coverage})" if profile.coverage else ""
        return ProfileStanding(ProfileReason.READY, f"profile {profile.name} fits{measured}.", profile.name)
    message = (
        f"SpeculationProfile {profile.name} was refused: {profile.invalid}. Engines keep the last good model. "
        f"Correct it, or delete it to have it made anew: kubectl delete speculationprofile {profile.name}"
    )
    return ProfileStanding(ProfileReason.INVALID, message, profile.name)


def _beside(
    profile: FittingProfile | None, standing: ProfileStanding, now_seconds: float, *, drifted: bool
) -> ProfileStanding:
    """The standing of a key that a Job is wanted for, beside the profile it has.

    Where Jobs are forbidden, profiles grow as with source Serving; one that was measured stays.
    """
    forbidden = standing.reason is ProfileReason.FORBIDDEN
    if profile is None:
        message = f"as with source Serving, {GROWING} {standing.message}" if forbidden else standing.message
        return replace(standing, message=message)
    if forbidden and profile.served:
        message = f"profile {profile.name} is used as with source Serving ({profile.coverage}). {standing.message}"
        return ProfileStanding(ProfileReason.GROWN_WITHOUT_JOB, message, profile.name)
    message = aging.message(profile, standing.message, now_seconds, drifted=drifted)
    return ProfileStanding(ProfileReason.STALE, message, profile.name)


def _without_job(member: Candidate) -> ProfileStanding:
    """No profile and nobody who may measure one."""
    if len(member.allowed) == 1:
        return ProfileStanding(ProfileReason.NOT_NEEDED, f"K={member.allowed[0]} is pinned, so no profile is needed.")
    if member.policy.mode is Mode.PAUSED:
        return ProfileStanding(ProfileReason.PENDING, "no profile yet; none is measured while the policy is paused.")
    if member.policy.profile_source is ProfileSource.SERVING:
        return ProfileStanding(ProfileReason.GROWING, GROWING)
    message = (
        f"no SpeculationProfile with key {member.key} in namespace {member.pod.namespace}. Create one, "
        "or set spec.profiling.source to Job to have it measured, or to Serving to let it grow."
    )
    return ProfileStanding(ProfileReason.MISSING, message)


def _advance(
    place: ProfileKey, wanting: list[Candidate], jobs: list[JobView], situation: JobSituation
) -> tuple[CreateProfilingJob | HarvestProfile | None, ProfileStanding]:
    """The next act for a key without a profile. A new attempt needs every earlier Job of the key to have ended."""
    namespace, key = place
    for job in jobs:
        if job.phase is JobPhase.SUCCEEDED and job.harvestable:
            harvest = HarvestProfile(namespace, job.name, profile_name(key))
            return harvest, ProfileStanding(ProfileReason.IN_PROGRESS, f"Job {job.name} is done; its result is kept.")
    for job in jobs:
        if job.phase is JobPhase.RUNNING:
            return None, _running(job)
    if not jobs:
        return _create(place, 1, wanting, situation)
    last = jobs[-1]
    unexplained = "it left no result that can be read" if last.phase is JobPhase.SUCCEEDED else "no reason given"
    why = last.failure or unexplained
    ended = ended_at(last, situation.sights.get((namespace, last.name), JobSight()))
    if ended is None:
        ended = situation.requested.get(("job", namespace, last.name), 0.0)
    due = ended + retry_pause_seconds(last.attempt)
    if situation.now_seconds >= due:
        return _create(place, last.attempt + 1, wanting, situation)
    message = (
        f"Job {last.name} failed: {why}. Attempt {last.attempt + 1} starts {_clock(due)}. "
        f"See kubectl logs job/{last.name} -n {namespace}. To try at once when the cause is removed: "
        f"kubectl delete job -n {namespace} -l turbospec.io/profiling-key={key}"
    )
    return None, ProfileStanding(ProfileReason.FAILED, message)


def _running(job: JobView) -> ProfileStanding:
    unchecked = f" It was made without a look at its node's room: the operator may not {job.unchecked}."
    note = unchecked if job.unchecked else ""
    watch = f"kubectl turbospec profile watch -n {job.namespace}"
    if job.waiting:
        return ProfileStanding(ProfileReason.BLOCKED, f"Job {job.name} waits: {job.waiting}{note}")
    return ProfileStanding(ProfileReason.IN_PROGRESS, f"Job {job.name} measures this hardware: {watch}.{note}")


def _create(
    place: ProfileKey, attempt: int, wanting: list[Candidate], situation: JobSituation
) -> tuple[CreateProfilingJob | None, ProfileStanding]:
    """Copy a pod that is Ready, so that a template known to serve is measured; not in the middle of a scale event."""
    namespace, key = place
    ready = sorted((member for member in wanting if member.pod.ready), key=lambda member: member.pod.name)
    if not ready:
        return None, ProfileStanding(ProfileReason.PENDING, "profiling starts when the first pod is Ready.")
    owners = {member.pod.owner for member in wanting if (namespace, member.pod.owner) in situation.scaling}
    if owners:
        message = f"profiling starts when all pods of {', '.join(sorted(map(str, owners)))} are Ready."
        return None, ProfileStanding(ProfileReason.PENDING, message)
    owner = wanting[0].policy
    name = job_name(key, attempt)
    job = CreateProfilingJob(
        namespace,
        name,
        key,
        ready[0].pod.name,
        owner.name,
        owner.uid,
        tuple(sorted({k for member in wanting for k in member.allowed})),
        attempt,
        nodes=tuple(dict.fromkeys(member.pod.node for member in ready if member.pod.node is not None)),
        may_provision=owner.capacity is ProfilingCapacity.MAY_PROVISION,
        busy_nodes=tuple(sorted({job.node for job in situation.jobs if job.phase is JobPhase.RUNNING and job.node})),
    )
    obstacle = situation.obstacle(namespace, name)
    known = (ProfileReason.FORBIDDEN, ProfileReason.GROWN_WITHOUT_JOB)
    told = any(("Profiled", reason) in member.policy.reported for member in wanting for reason in known)
    if obstacle is None and told and request_key(job) not in situation.requested:
        # We have just started: until the first answer what stands in the status holds, so that no event says otherwise.
        return job, ProfileStanding(ProfileReason.FORBIDDEN, "Jobs were forbidden here, which is looked at again now.")
    if obstacle is not None:
        reason = ProfileReason.FORBIDDEN if obstacle.forbidden else ProfileReason.BLOCKED
        return job, ProfileStanding(
            reason, f"{obstacle.message} It is tried again every {REQUEST_PAUSE_SECONDS:.0f} s."
        )
    return job, ProfileStanding(ProfileReason.IN_PROGRESS, f"Job {name} is being created.")


def _in_the_queue(want: Want, standing: ProfileStanding) -> ProfileStanding:
    if standing.reason in (ProfileReason.BLOCKED, ProfileReason.FORBIDDEN) or standing.reason.usable:
        return standing
    message = (
        f"Job {want.job.name} waits for its turn: at most {want.max_concurrent_nodes} nodes measure at the same time "
        "(spec.profiling.maxConcurrentNodes), and namespaces take turns."
    )
    return ProfileStanding(ProfileReason.PENDING, message)


def _clock(seconds: float) -> str:
    """A point in time as people read it, UTC."""
    minutes, second = divmod(int(seconds) % 86400, 60)
    hour, minute = divmod(minutes, 60)
    return f"at {hour:02d}:{minute:02d}:{second:02d} UTC"
