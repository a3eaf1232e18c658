"""What profiling Jobs are decided on, beside the engines that need them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from turbospec.fleet.effects import CreateProfilingJob, HarvestProfile
from turbospec.fleet.job_queue import Want, busy, last_created, next_jobs
from turbospec.fleet.job_times import JobName, JobSight
from turbospec.fleet.memory import request_key
from turbospec.fleet.profiles import ProfileKey
from turbospec.fleet.settling import Owner
from turbospec.fleet.snapshot import JobObstacle, JobView

REQUEST_PAUSE_SECONDS = 30.0
"""How long a request may take to show in the snapshot before it is made again. All requests are idempotent."""


def forbidden_keys(obstacles: Iterable[JobObstacle]) -> frozenset[ProfileKey]:
    """The keys whose Jobs the operator may not create."""
    return frozenset((each.namespace, each.key) for each in obstacles if each.forbidden)


@dataclass(frozen=True, slots=True)
class JobSituation:
    """What Jobs are decided on. ``requested`` and ``sights`` are of the ``FleetMemory``, ``obstacles`` met by the last
    tries to create. The pods of the ``scaling`` owners are starting or ending; the engines of the ``drifted`` keys take
    other times than their profile says."""

    jobs: tuple[JobView, ...]
    requested: Mapping[tuple[str, str, str], float]
    now_seconds: float
    sights: Mapping[JobName, JobSight] = field(default_factory=dict)
    obstacles: tuple[JobObstacle, ...] = ()
    scaling: frozenset[Owner] = frozenset()
    drifted: frozenset[ProfileKey] = frozenset()

    def of(self, place: ProfileKey) -> list[JobView]:
        """The Jobs of a key, by attempt."""
        found = [job for job in self.jobs if (job.namespace, job.key) == place]
        return sorted(found, key=lambda job: (job.attempt, job.name))

    def may_request(self, effect: CreateProfilingJob | HarvestProfile) -> bool:
        """Whether it was not asked for a moment ago."""
        asked = self.requested.get(request_key(effect), float("-inf"))
        return self.now_seconds - asked >= REQUEST_PAUSE_SECONDS

    def obstacle(self, namespace: str, name: str) -> JobObstacle | None:
        """Why this Job could not be created."""
        return next((each for each in self.obstacles if (each.namespace, each.name) == (namespace, name)), None)

    @property
    def forbidden(self) -> frozenset[ProfileKey]:
        """The keys whose Jobs the operator may not create."""
        return forbidden_keys(self.obstacles)

    def next_jobs(self, wants: list[Want]) -> tuple[CreateProfilingJob, ...]:
        """Those of the wanted Jobs whose turn it is."""
        requested = [
            (namespace, name)
            for (kind, namespace, name), asked in self.requested.items()
            if kind == "job" and self.now_seconds - asked < REQUEST_PAUSE_SECONDS
            if self.obstacle(namespace, name) is None
        ]
        return next_jobs(wants, busy(self.jobs, requested), last_created(self.jobs))
