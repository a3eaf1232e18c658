"""Pods of the simulated Deployment: from Pending to Ready to gone, and which ones a scale-down takes."""

import math
from dataclasses import dataclass
from enum import StrEnum

from turbospec.simulation.fleet.files import StartupSpec


class Phase(StrEnum):
    """Where a pod stands."""

    PENDING = "pending"
    STARTING = "starting"
    WARMING = "warming"
    READY = "ready"
    TERMINATING = "terminating"


@dataclass(slots=True, eq=False)
class Pod:
    """One pod. ``slot`` is its engine's index; times in seconds of the day."""

    number: int
    slot: int
    created: float
    startup: StartupSpec
    terminated: float | None = None
    """When it was told to end."""
    gone: float | None = None
    plain: bool = False
    """Started without the drafter, for life."""

    @property
    def name(self) -> str:
        """As Kubernetes would name it."""
        return f"pod-{self.number}"

    @property
    def ready_at(self) -> float:
        """When it is, or was, Ready."""
        return self.created + self.startup.seconds

    def phase(self, now: float) -> Phase:
        """Its phase now, while it is there."""
        if self.terminated is not None:
            return Phase.TERMINATING
        age, startup = now - self.created, self.startup
        if age >= startup.seconds:
            return Phase.READY
        if age < startup.pending_seconds:
            return Phase.PENDING
        if age < startup.pending_seconds + startup.starting_seconds:
            return Phase.STARTING
        return Phase.WARMING

    def seconds(self, start: float, end: float) -> float:
        """How long it was there between two times, from its creation until it was gone."""
        return max(0.0, min(end, math.inf if self.gone is None else self.gone) - max(start, self.created))


def victims(pods: list[Pod], count: int, now: float) -> list[Pod]:
    """The pods that a ReplicaSet deletes first.

    Pending before assigned, not Ready before Ready, then the one that has been Ready, then there, for a shorter time,
    by powers of two (LogarithmicScaleDown); what is left is as good as chance.
    https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset; deletion cost and pods
    of one node do not differ here: each has GPUs of its own.
    """

    def rank(pod: Pod) -> tuple[bool, bool, int, int, int]:
        phase = pod.phase(now)
        ready = phase is Phase.READY
        return (
            phase is not Phase.PENDING,
            ready,
            _octave(now - pod.ready_at) if ready else 0,
            _octave(now - pod.created),
            # Stands for the random UID: the same in every arm, and not the order of creation.
            pod.number * 2654435761 % (1 << 32),
        )

    return sorted((pod for pod in pods if pod.terminated is None), key=rank)[:count]


def _octave(seconds: float) -> int:
    """Of a duration, counted in nanoseconds as Kubernetes does."""
    return int(math.log2(seconds * 1e9)) if seconds > 0.0 else -1
