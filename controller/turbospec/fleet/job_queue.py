"""Which of the wanted profiling Jobs come next: few at a time, and namespaces in turn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turbospec.fleet.effects import CreateProfilingJob
from turbospec.fleet.snapshot import JobPhase, JobView


@dataclass(frozen=True, slots=True)
class Want:
    """A Job that could be created now. ``max_concurrent_nodes`` is its policy's word on how many nodes may measure
    at the same time, itself included, over all namespaces."""

    job: CreateProfilingJob
    max_concurrent_nodes: int


def busy(jobs: Iterable[JobView], requested: Iterable[tuple[str, str]]) -> int:
    """Nodes that measure now, or will in a moment: of ``requested`` Jobs (namespace, name) that do not show yet.

    A Job whose pod waits (no room, no image, suspended) measures nothing, and must not hold up everybody for the
    40 minutes after which it is given up.
    """
    jobs = tuple(jobs)
    shown = {(job.namespace, job.name) for job in jobs}
    measuring = [job for job in jobs if job.phase is JobPhase.RUNNING and not job.waiting]
    nodes = {job.node for job in measuring if job.node is not None}
    return len(nodes) + sum(job.node is None for job in measuring) + len(set(requested) - shown)


def last_created(jobs: Iterable[JobView]) -> Mapping[str, float]:
    """When each namespace last got a Job, as far as its Jobs are still there: what a restart must not forget."""
    latest: dict[str, float] = {}
    for job in jobs:
        latest[job.namespace] = max(latest.get(job.namespace, float("-inf")), job.created_seconds or 0.0)
    return latest


def next_jobs(wants: Iterable[Want], busy_nodes: int, latest: Mapping[str, float]) -> tuple[CreateProfilingJob, ...]:
    """The Jobs to create now, in order.

    It is the turn of the namespace whose last Job is the longest ago (none ever comes first). Within a namespace first
    attempts come before repeated ones, so that a key that always fails does not hold up the others. Who has its turn
    is not overtaken while its policy's limit makes it wait: else a policy that allows one node would wait for ever
    beside one that allows several.
    """
    waiting: dict[str, list[Want]] = {}
    for want in sorted(wants, key=lambda want: (want.job.attempt, want.job.name)):
        waiting.setdefault(want.job.namespace, []).append(want)
    found: list[CreateProfilingJob] = []
    turns = sorted(waiting, key=lambda namespace: (latest.get(namespace, float("-inf")), namespace))
    while turns:
        namespace, *rest = turns
        want = waiting[namespace].pop(0)
        if busy_nodes + len(found) >= want.max_concurrent_nodes:
            break
        found.append(want.job)
        turns = [*rest, namespace] if waiting[namespace] else rest
    return tuple(found)
