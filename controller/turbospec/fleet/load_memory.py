"""What is remembered of the load between rounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from turbospec.fleet.capacity import LoadSignal
from turbospec.fleet.demand import DemandMemory, RequestCounts

LoadKey = tuple[str, str, str]
"""Namespace, scale target (``deployment/chat``), profile key."""


class UnknownLoad(StrEnum):
    """Why there is no load signal; the most fundamental reason is said."""

    NO_READY_POD = "NoReadyPod"
    NOT_REPORTED = "NotReported"
    """Engines do not count requests (an older runtime), or most of them do not answer."""
    NO_PROFILE = "NoProfile"
    NO_ACCEPTANCE = "NoAcceptance"
    TOO_FEW_REQUESTS = "TooFewRequests"
    """Too few have come and finished to know how long they are."""
    STARTING = "Starting"
    """Observed for less than half a minute."""


@dataclass(frozen=True, slots=True)
class LoadMemory:
    """What is remembered of one key: each engine's counts when it was last heard, and what they came to."""

    seconds: float
    heard: Mapping[str, tuple[str, RequestCounts]] = field(default_factory=dict)
    demand: DemandMemory = field(default_factory=DemandMemory)
    signal: LoadSignal | None = None
    unknown: UnknownLoad | None = None
    ready: int = 0
    silent: int = 0
