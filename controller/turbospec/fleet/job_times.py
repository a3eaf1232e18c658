"""When profiling Jobs ended, by a clock that may differ from the cluster's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turbospec.fleet.snapshot import JobPhase, JobView

JobName = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class JobSight:
    """When a Job was last seen running, and first seen ended, by our own clock."""

    running_seconds: float | None = None
    ended_seconds: float | None = None


def look(jobs: Iterable[JobView], known: Mapping[JobName, JobSight], now_seconds: float) -> Mapping[JobName, JobSight]:
    """The sights after this round; Jobs that are gone are forgotten."""
    seen: dict[JobName, JobSight] = {}
    for job in jobs:
        old = known.get((job.namespace, job.name), JobSight())
        if job.phase is JobPhase.RUNNING:
            seen[job.namespace, job.name] = JobSight(running_seconds=now_seconds)
        else:
            ended = now_seconds if old.ended_seconds is None else old.ended_seconds
            seen[job.namespace, job.name] = JobSight(old.running_seconds, ended)
    return seen


def ended_at(job: JobView, sight: JobSight) -> float | None:
    """When it ended: what the cluster says, no earlier than we saw it run and no later than we saw it ended.

    So a clock that is hours ahead of the cluster's does not make every pause look over, nor one that is behind make
    it endless. None where nobody has said or seen anything.
    """
    ended = job.finished_seconds
    if ended is None:
        return sight.running_seconds
    if sight.running_seconds is not None:
        ended = max(ended, sight.running_seconds)
    return ended if sight.ended_seconds is None else min(ended, sight.ended_seconds)
