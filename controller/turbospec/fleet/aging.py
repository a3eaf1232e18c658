"""Profiles that have grown too old for a policy (``profiling.maxAge``), or have drifted: measured again, and used
meanwhile."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from turbospec.fleet.effects import CreateProfilingJob, HarvestProfile
from turbospec.fleet.profiles import FittingProfile
from turbospec.fleet.snapshot import JobView, PolicyView


def outlived(profile: FittingProfile | None, policy: PolicyView, now_seconds: float) -> bool:
    """Whether the policy, which has source Job, wants it measured again. A refused one waits for whoever edited it; one
    whose age is not known is never too old; one that was grown while serving is better measured."""
    if profile is None or profile.invalid is not None:
        return False
    if profile.served:
        return True
    if profile.measured_seconds is None or policy.max_age_seconds is None:
        return False
    return now_seconds - profile.measured_seconds > policy.max_age_seconds


def since(profile: FittingProfile | None, jobs: Iterable[JobView]) -> list[JobView]:
    """The Jobs that measure it anew. Those that ended before it was measured made it, or failed before that."""
    measured = None if profile is None or profile.served else profile.measured_seconds
    return [
        job
        for job in jobs
        if measured is None or job.finished_seconds is None or int(job.finished_seconds) > int(measured)
    ]


def again(
    effect: CreateProfilingJob | HarvestProfile | None, jobs: Sequence[JobView]
) -> CreateProfilingJob | HarvestProfile | None:
    """The effect for a profile that is there. A Job's name is its claim: while an earlier one bears it, none is made
    (ended Jobs are kept for two hours)."""
    match effect:
        case HarvestProfile():
            return replace(effect, replaces=True)
        case CreateProfilingJob() if any(job.name == effect.name for job in jobs):
            return None
    return effect


def message(profile: FittingProfile, measuring: str, now_seconds: float, *, drifted: bool = False) -> str:
    """How old it is, or that it has drifted; that it stays in use, and what is done about it."""
    if profile.served:
        return f"profile {profile.name} was grown while serving; it stays in use while it is measured: {measuring}"
    if drifted:
        return (
            f"step times are no longer those of profile {profile.name}; it stays in use, corrected by the engines, "
            f"while it is measured again: {measuring}"
        )
    age = now_seconds - (profile.measured_seconds or now_seconds)
    said = f"{age / 86400:.0f} days" if age >= 172800 else f"{age / 3600:.0f} hours"
    return (
        f"profile {profile.name} was measured {said} ago, longer than spec.profiling.maxAge; it stays in use while it "
        f"is measured again: {measuring}"
    )
