"""How the profile of a key stands, in one word and one sentence."""

from dataclasses import dataclass
from enum import StrEnum


class ProfileReason(StrEnum):
    """How the profile of one key stands, as condition reasons, the most urgent first."""

    INVALID = "ProfileInvalid"
    FAILED = "ProfilingFailed"
    MISSING = "ProfileMissing"
    BLOCKED = "ProfilingBlocked"
    IN_PROGRESS = "ProfilingInProgress"
    PENDING = "ProfilingPending"
    FORBIDDEN = "JobsForbidden"
    GROWING = "ProfileGrowing"
    PROVISIONAL = "ProfileProvisional"
    GROWN_WITHOUT_JOB = "ProfileGrownWithoutJob"
    STALE = "ProfileStale"
    READY = "ProfileReady"
    NOT_NEEDED = "NotNeeded"

    @property
    def usable(self) -> bool:
        """Whether engines are given a profile's model."""
        return self in _USABLE


_USABLE = (ProfileReason.PROVISIONAL, ProfileReason.GROWN_WITHOUT_JOB, ProfileReason.STALE, ProfileReason.READY)


@dataclass(frozen=True, slots=True)
class ProfileStanding:
    """How the profile of one key stands for one policy. ``profile`` is its name where there is one."""

    reason: ProfileReason
    message: str
    profile: str | None = None


def urgency(reason: ProfileReason) -> int:
    """Sort key: what waits for a person first."""
    return list(ProfileReason).index(reason)
