"""The fleet loop: observe, decide, apply, every few seconds and at once when a resource of ours changes."""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from turbospec.fleet.decide import decide
from turbospec.fleet.effects import CreateProfilingJob, Effect, PushControl
from turbospec.fleet.memory import FleetMemory, forget
from turbospec.fleet.scale_events import ScaleEvent
from turbospec.fleet.snapshot import FleetSnapshot, JobObstacle
from turbospec_operator.advisor import Advisor
from turbospec_operator.apply import Applier, Outcome
from turbospec_operator.cluster import ApiError, Cluster
from turbospec_operator.identity import IdentityError, load_master_key
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observer
from turbospec_operator.prometheus_demand import PrometheusDemand
from turbospec_operator.prometheus_history import PrometheusHistory
from turbospec_operator.prometheus_load import PrometheusLoad

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""Namespace and scale target."""

SETTLE_SECONDS = 0.2
"""Events come in bursts; a round waits this long after the first, so that one round sees them all."""

LIVE_SECONDS = 60.0
READY_SECONDS = 30.0
"""Ages, beside the interval, at which the last round and the last successful list are too old."""

LOAD_SECONDS = 30.0
"""How long the load signal stays where rounds fail: an autoscaler had better see none than one of another time."""

DENIED_SECONDS = 600.0
"""How long a missing permission is kept in mind where nothing tries it again; few rounds write events, for one."""

OBSTACLE_SECONDS = 90.0
"""How long what kept a Job from being created is kept in mind where it is not tried again, as it is every 30 s."""

FORBIDDEN_SECONDS = 3600.0
"""The same where the permission was missing: longer than the Job of another namespace may hold up the next try, so that
profiles do not stop growing meanwhile."""


@dataclass(frozen=True, slots=True)
class Health:
    """Why the loop is not well; None where it is."""

    not_live: str | None
    not_ready: str | None


class FleetLoop:
    """One after the other, rounds that never end the loop: whatever goes wrong in one is said and counted."""

    def __init__(
        self,
        cluster: Cluster,
        observer: Observer,
        applier: Applier,
        metrics: Metrics,
        *,
        namespace: str,
        epoch: int,
        interval_seconds: float,
        prometheus: PrometheusLoad | None = None,
        advisor: Advisor | None = None,
        demand: PrometheusDemand | None = None,
        history: PrometheusHistory | None = None,
    ) -> None:
        self._cluster = cluster
        self._observer = observer
        self._applier = applier
        self._metrics = metrics
        self._namespace = namespace
        self._interval = interval_seconds
        self._prometheus = prometheus
        self._advisor = advisor or Advisor(None)
        self._demand = demand or PrometheusDemand(None)
        self._reading: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._history = history or PrometheusHistory(None)
        self._recalling: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._epoch = epoch
        self._master_key: bytes | None = None
        self._memory = FleetMemory()
        self._denied: dict[tuple[str, str], tuple[str, float]] = {}
        self._refusals: dict[str, str] = {}
        self._obstacles: dict[tuple[str, str], tuple[JobObstacle, float]] = {}
        self._said: str | None = None
        self._problem: str | None = "no round has been completed yet"
        self._round_ended_at = self._load_known_at = time.monotonic()

    def wake(self) -> None:
        """A resource of ours has changed: look again, now."""
        self._observer.expire()
        self._wake.set()

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            await self._guarded_round()
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
                    await asyncio.sleep(SETTLE_SECONDS)
            except TimeoutError:
                pass
            self._wake.clear()

    def health(self) -> Health:
        """For the probes: live while rounds end, ready while the API server answers and the operator knows itself."""
        now = time.monotonic()
        age = now - self._round_ended_at
        not_live = f"the last round ended {age:.0f} s ago" if age > LIVE_SECONDS + self._interval else None
        proven = self._observer.api_proven_at
        if self._problem is not None:
            return Health(not_live, self._problem)
        if proven is None or now - proven > READY_SECONDS + self._interval:
            seen = "never" if proven is None else f"{now - proven:.0f} s ago"
            return Health(not_live, f"the last successful list from the API server: {seen}")
        return Health(not_live, None)

    async def _guarded_round(self) -> None:
        started = time.monotonic()
        result, problem, defect = "done", None, None
        try:
            await self._round()
        except (ApiError, IdentityError) as error:
            result, problem = "skipped", str(error)
        except Exception as error:  # noqa: BLE001 a defect in one round must not end control of the fleet
            result, problem, defect = "error", f"round failed: {type(error).__name__}: {error}", error
        self._problem = problem
        self._round_ended_at = time.monotonic()
        if self._round_ended_at - self._load_known_at > LOAD_SECONDS:
            self._metrics.loads({})
            self._metrics.scale_events({})
        self._metrics.round_ended(result, self._round_ended_at - started)
        if problem != self._said:
            self._said = problem
            if problem is None:
                log.info("rounds are completed again")
            else:
                log.error("%s", problem, exc_info=defect)

    async def _round(self) -> None:
        if self._master_key is None:
            self._master_key = await load_master_key(self._cluster, self._namespace)
        observation = await self._observer.observe(
            epoch=self._epoch,
            master_key=self._master_key,
            denied=[entry for entry, _ in self._denied.values()],
            refusals=self._refusals,
            obstacles=[obstacle for obstacle, _ in self._obstacles.values()],
        )
        observed = replace(observation.snapshot, queried=self._demand.answers(), history=self._history.last())
        self._metrics.observed(observed)
        self._advisor.look(observed)
        snapshot = self._advisor.advised(observed, observation.statuses)
        before = self._memory.scale_events
        effects, self._memory = decide(snapshot, self._memory)
        self._metrics.loads(self._memory.loads, self._memory.values)
        self._metrics.scale_events(self._memory.scale_events)
        for line in scaling_news(before, self._memory.scale_events):
            log.info("%s", line)
        self._load_known_at = time.monotonic()
        outcomes = await self._applier.apply(effects, observation)
        unreached = (effect for effect, outcome in zip(effects, outcomes, strict=True) if outcome.unreached)
        self._memory = forget(self._memory, unreached)
        self._refusals = _refusals(self._refusals, effects, outcomes, snapshot)
        self._note_denied(effects, outcomes)
        self._note_obstacles(effects, outcomes)
        if observation.token_refused or any(outcome.refused_token for outcome in outcomes):
            # The Secret may have been made anew: read it again before the next round.
            self._master_key = None
        self._ask_prometheus(snapshot)

    def _ask_prometheus(self, snapshot: FleetSnapshot) -> None:
        """Beside the loop: a slow Prometheus must not slow down control. Nothing is asked twice at once."""
        if self._demand.due() and _ended(self._asking):
            self._asking = asyncio.create_task(self._demand.read(snapshot.policies))
        wanted = any(policy.horizon_seconds is not None for policy in snapshot.policies)
        if wanted and self._history.due() and _ended(self._recalling):
            self._recalling = asyncio.create_task(self._history.read())
        if self._prometheus is not None and self._prometheus.due() and _ended(self._reading):
            self._reading = asyncio.create_task(self._prometheus.read(snapshot))

    def _note_denied(self, effects: Sequence[Effect], outcomes: Sequence[Outcome]) -> None:
        """Missing permissions by kind of effect and namespace, until such an effect succeeds or a while has passed."""
        now = time.monotonic()
        for effect, outcome in zip(effects, outcomes, strict=True):
            if isinstance(effect, PushControl):
                continue  # engines know no permissions
            key = (type(effect).__name__, effect.namespace)
            if outcome.denied is not None:
                self._denied[key] = (outcome.denied, now)
            elif outcome.error is None:
                self._denied.pop(key, None)
        self._denied = {key: noted for key, noted in self._denied.items() if now - noted[1] < DENIED_SECONDS}

    def _note_obstacles(self, effects: Sequence[Effect], outcomes: Sequence[Outcome]) -> None:
        """What keeps each Job from being created, until it is created or nobody has wanted it for a while."""
        now = time.monotonic()
        for effect, outcome in zip(effects, outcomes, strict=True):
            if isinstance(effect, CreateProfilingJob):
                name = (effect.namespace, effect.name)
                self._obstacles.pop(name, None)
                if outcome.obstacle is not None:
                    obstacle = JobObstacle(*name, effect.key, outcome.obstacle, forbidden=outcome.forbidden)
                    self._obstacles[name] = obstacle, now
        self._obstacles = {
            name: (obstacle, noted)
            for name, (obstacle, noted) in self._obstacles.items()
            if now - noted < (FORBIDDEN_SECONDS if obstacle.forbidden else OBSTACLE_SECONDS)
        }


def _ended(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


def scaling_news(before: Mapping[Place, ScaleEvent], now: Mapping[Place, ScaleEvent]) -> Iterator[str]:
    """A line with its evidence for each (namespace, scale target) whose replicas do something else than before."""
    for (namespace, target), event in sorted(now.items()):
        known = before.get((namespace, target))
        if known is None or (known.state, known.reason) != (event.state, event.reason):
            yield f"replicas of {target} in {namespace}: {event.state} ({event.reason}): {event.evidence}"


def _refusals(
    known: Mapping[str, str], effects: Sequence[Effect], outcomes: Sequence[Outcome], snapshot: FleetSnapshot
) -> dict[str, str]:
    """Each engine's refusal of the last document put to it, by pod uid, for the pods that are still there."""
    found = dict(known)
    for effect, outcome in zip(effects, outcomes, strict=True):
        if isinstance(effect, PushControl) and outcome.refusal is not None:
            found[effect.engine.uid] = outcome.refusal
        elif isinstance(effect, PushControl) and outcome.error is None:
            found.pop(effect.engine.uid, None)
    there = {pod.uid for pod in snapshot.pods}
    return {uid: refusal for uid, refusal in found.items() if uid in there}
