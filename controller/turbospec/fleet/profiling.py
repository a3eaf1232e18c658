"""Profiling Jobs: when one is created, retried and harvested, and how the profile of a key stands."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from turbospec.fleet import aging
from turbospec.fleet.effects import CreateProfilingJob, HarvestProfile
from turbospec.fleet.memory import request_key
from turbospec.fleet.profiles import FittingProfile, ProfileKey, profile_name
from turbospec.fleet.snapshot import EngineReport, JobPhase, JobView, Mode, PodView, PolicyView, ProfileSource

FIRST_RETRY_SECONDS = 30.0
RETRY_FACTOR = 4.0
MAX_RETRY_SECONDS = 3600.0
"""Pauses after a failed Job: 30 s for a node that died, then 2, 8 and 32 minutes, then an hour each time, without end.
Most failures last (memory, arguments) until somebody corrects what cannot be seen from here; nobody should have to
remember to tell us then. A finished Job must be kept for longer than this: the newest one says which attempt it was."""

REQUEST_PAUSE_SECONDS = 30.0
"""How long a request may take to show in the snapshot before it is made again. All requests are idempotent."""

GROWING = (
    "no profile yet: engines learn their step times while serving, and a profile is written when they have seen K = 0, "
    "another K and four points of batch and context."
)


class ProfileReason(StrEnum):
    """How the profile of one key stands, as condition reasons, the most urgent first."""

    INVALID = "ProfileInvalid"
    FAILED = "ProfilingFailed"
    MISSING = "ProfileMissing"
    IN_PROGRESS = "ProfilingInProgress"
    PENDING = "ProfilingPending"
    GROWING = "ProfileGrowing"
    PROVISIONAL = "ProfileProvisional"
    STALE = "ProfileStale"
    READY = "ProfileReady"
    NOT_NEEDED = "NotNeeded"

    @property
    def usable(self) -> bool:
        """Whether engines are given a profile's model."""
        return self in (ProfileReason.PROVISIONAL, ProfileReason.STALE, ProfileReason.READY)


@dataclass(frozen=True, slots=True)
class ProfileStanding:
    """How the profile of one key stands for one policy. ``profile`` is its name where there is one."""

    reason: ProfileReason
    message: str
    profile: str | None = None


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


def urgency(reason: ProfileReason) -> int:
    """Sort key: what waits for a person first."""
    return list(ProfileReason).index(reason)


def job_name(key: str, attempt: int) -> str:
    """The one name of this key's Job in this attempt, so that creating it twice is creating it once."""
    return f"turbospec-profile-{key}" if attempt == 1 else f"turbospec-profile-{key}-{attempt}"


def retry_pause_seconds(attempt: int) -> float:
    """How long after the end of this attempt (from 1) the next one starts."""
    steps = min(attempt - 1, 8)  # far beyond the cap; an annotation edited to nonsense must not overflow
    return min(FIRST_RETRY_SECONDS * RETRY_FACTOR**steps, MAX_RETRY_SECONDS)


def plan_profiling(
    candidates: Iterable[Candidate],
    profiles: Mapping[ProfileKey, FittingProfile],
    jobs: Iterable[JobView],
    requested: Mapping[tuple[str, str, str], float],
    now_seconds: float,
    *,
    drifted: Container[ProfileKey] = (),
) -> ProfilingPlan:
    """Decide Jobs and harvests. ``candidates`` come oldest policy first; ``requested`` is ``FleetMemory.requested``.

    A Job is wanted for a key without any profile, even an invalid one (whoever edited it must decide), by a policy that
    is not paused, has source Job, and leaves more than one K to choose from. So too for a key whose profile has
    outlived such a policy's maximum age, or is among those that have ``drifted``.
    """
    by_place: dict[ProfileKey, list[Candidate]] = {}
    for candidate in candidates:
        by_place.setdefault(candidate.place, []).append(candidate)
    jobs_by_place: dict[ProfileKey, list[JobView]] = {}
    for job in jobs:
        jobs_by_place.setdefault((job.namespace, job.key), []).append(job)
    effects: list[CreateProfilingJob | HarvestProfile] = []
    standings: dict[tuple[str, str], ProfileStanding] = {}
    for place, members in sorted(by_place.items()):
        wanting = [member for member in members if _wants_job(member)]
        profile, all_jobs = profiles.get(place), jobs_by_place.get(place, [])
        gone_off = place in drifted
        overdue = [one for one in wanting if gone_off or aging.outlived(profile, one.policy, now_seconds)]
        if profile is not None and not overdue:
            standing = _standing_of(profile)
        elif wanting:
            newer = aging.since(profile, all_jobs)
            effect, standing = _advance(place, overdue or wanting, newer, requested, now_seconds)
            if profile is not None:
                effect = aging.again(effect, all_jobs)
                why = aging.message(profile, standing.message, now_seconds, drifted=gone_off)
                standing = ProfileStanding(ProfileReason.STALE, why, profile.name)
            if effect is not None and _may_request(effect, requested, now_seconds):
                effects.append(effect)
        else:
            standing = None
        for member in members:
            pinned = len(member.allowed) == 1 and place not in profiles
            own = _without_job(member) if pinned or standing is None else standing
            known = standings.setdefault((member.policy.uid, member.key), own)
            if urgency(own.reason) < urgency(known.reason):
                standings[member.policy.uid, member.key] = own
    return ProfilingPlan(tuple(effects), standings)


def _may_request(
    effect: CreateProfilingJob | HarvestProfile, requested: Mapping[tuple[str, str, str], float], now_seconds: float
) -> bool:
    return now_seconds - requested.get(request_key(effect), float("-inf")) >= REQUEST_PAUSE_SECONDS


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
    place: ProfileKey,
    wanting: list[Candidate],
    jobs: list[JobView],
    requested: Mapping[tuple[str, str, str], float],
    now_seconds: float,
) -> tuple[CreateProfilingJob | HarvestProfile | None, ProfileStanding]:
    """The next act for a key without a profile. A new attempt needs every earlier Job of the key to have ended."""
    namespace, key = place
    jobs = sorted(jobs, key=lambda job: (job.attempt, job.name))
    for job in jobs:
        if job.phase is JobPhase.SUCCEEDED and job.harvestable:
            harvest = HarvestProfile(namespace, job.name, profile_name(key))
            return harvest, ProfileStanding(ProfileReason.IN_PROGRESS, f"Job {job.name} is done; its result is kept.")
    for job in jobs:
        if job.phase is JobPhase.RUNNING:
            message = f"Job {job.name} measures this hardware: kubectl turbospec profile watch -n {namespace}"
            return None, ProfileStanding(ProfileReason.IN_PROGRESS, message)
    if not jobs:
        return _create(place, 1, wanting)
    last = jobs[-1]
    unexplained = "it left no result that can be read" if last.phase is JobPhase.SUCCEEDED else "no reason given"
    why = last.failure or unexplained
    ended = last.finished_seconds
    if ended is None:
        ended = requested.get(("job", namespace, last.name), 0.0)
    due = ended + retry_pause_seconds(last.attempt)
    if now_seconds >= due:
        return _create(place, last.attempt + 1, wanting)
    message = (
        f"Job {last.name} failed: {why}. Attempt {last.attempt + 1} starts {_clock(due)}. "
        f"See kubectl logs job/{last.name} -n {namespace}. To try at once when the cause is removed: "
        f"kubectl delete job -n {namespace} -l turbospec.io/profiling-key={key}"
    )
    return None, ProfileStanding(ProfileReason.FAILED, message)


def _create(
    place: ProfileKey, attempt: int, wanting: list[Candidate]
) -> tuple[CreateProfilingJob | None, ProfileStanding]:
    """Copy a pod that is Ready, so that a template known to serve is measured."""
    namespace, key = place
    ready = sorted((member for member in wanting if member.pod.ready), key=lambda member: member.pod.name)
    if not ready:
        return None, ProfileStanding(ProfileReason.PENDING, "profiling starts when the first pod is Ready.")
    owner = wanting[0].policy
    draft_tokens = tuple(sorted({k for member in wanting for k in member.allowed}))
    name = job_name(key, attempt)
    job = CreateProfilingJob(namespace, name, key, ready[0].pod.name, owner.name, owner.uid, draft_tokens, attempt)
    return job, ProfileStanding(ProfileReason.IN_PROGRESS, f"Job {name} is being created.")


def _clock(seconds: float) -> str:
    """A point in time as people read it, UTC."""
    minutes, second = divmod(int(seconds) % 86400, 60)
    hour, minute = divmod(minutes, 60)
    return f"at {hour:02d}:{minute:02d}:{second:02d} UTC"
