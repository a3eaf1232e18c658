"""What the fleet loop remembers between rounds. Losing all of it (a restart) costs nothing but a little evidence.

Whatever must survive a restart is read back from the cluster instead: applied ids from the engines, attempts from the
Jobs, reasons from the policies' statuses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from turbospec.control.objective import Objective
from turbospec.fleet.effects import (
    ConditionValue,
    CreateProfilingJob,
    Effect,
    EnsureRuntime,
    HarvestProfile,
    PushControl,
    SetPolicyStatus,
    SetProfileStatus,
    TableRange,
    WriteServedProfile,
)
from turbospec.fleet.job_times import JobName, JobSight
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.preserve import PreserveMemory
from turbospec.fleet.scale_events import ScaleEvent
from turbospec.fleet.snapshot import EngineReport
from turbospec.fleet.startup_variant import VariantMemory
from turbospec.fleet.worth import Value


@dataclass(frozen=True, slots=True)
class PositionEvidence:
    """Decayed trials of one draft position: drafts that were accepted up to it, and those accepted beyond it.

    ``seen_seconds`` is when the last trial was counted.
    """

    successes: float
    trials: float
    seen_seconds: float


@dataclass(frozen=True, slots=True)
class ObjectiveVerdict:
    """Whether an engine finds no K that meets this objective.

    ``unattainable`` is what holds, None while nothing was said; ``said`` what was said last, and since when.
    """

    objective: Objective
    unattainable: bool | None = None
    said: bool | None = None
    since_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What is remembered of one engine process: what it was sent, and what it said last.

    ``sent_tries`` counts how often ``sent_id`` was put without taking effect. ``waiting`` is the mean number of waiting
    requests lately; ``unattainable_batches`` are those at which no K meets the objective by the operator's own table.
    ``stand_in``: the model it was last meant to run is that of another key's profile.
    """

    engine_id: str
    first_seen_seconds: float
    sent_id: str | None = None
    sent_seconds: float = 0.0
    sent_tries: int = 0
    report: EngineReport | None = None
    report_seconds: float = 0.0
    evidence: tuple[PositionEvidence | None, ...] = ()
    context_tokens: float | None = None
    waiting: float = 0.0
    stand_in: bool = False
    table: tuple[TableRange, ...] | None = None
    unattainable_batches: frozenset[int] = frozenset()
    verdict: ObjectiveVerdict | None = None
    probed_seconds: float | None = None
    probed_draft_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PooledPosition:
    """Acceptance of one draft position over several engines, and the samples it rests on."""

    acceptance: float
    samples: float


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """The last pooled acceptance of a (policy, profile key), for the pods that come after all its engines have gone."""

    positions: tuple[PooledPosition, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class DriftMemory:
    """Since when step times have been off, by what is off; pods of which that was ``said`` in an event."""

    since: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    said: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PolicyMemory:
    """The status last written, and when."""

    status: SetPolicyStatus
    seconds: float


ProfileStatuses = Mapping[str, tuple[tuple[ConditionValue, ...], float]]
"""The conditions written last, and when, by the profile's uid."""

FailedStarts = Mapping[str, tuple[tuple[str, str], ...]]
"""(template, pod uid) of injected pods whose engine ended before they were Ready, by policy uid."""


@dataclass(frozen=True)
class FleetMemory:
    """Empty at the start of the operator. ``engines`` is keyed by pod uid, ``policies`` by policy uid.

    ``failed_starts`` holds the pods that failed, by policy uid: those that are deleted before the next fails count too.
    ``requested`` holds when a Job, a harvest or a runtime was last asked for, keyed by ``(effect, namespace, name)``:
    a slow cache is not answered with the same request every round. ``loads`` are the load signals, and what they were
    made of; ``scale_events`` what was last seen to happen to the replicas of each (namespace, scale target).
    ``served``: when what engines have measured was last looked at, by namespace and profile key. ``jobs`` is when
    profiling Jobs were seen to end. ``preserved``: the K with which an autoscaler asks for no more replicas.
    ``variants``: how new pods start, by policy uid and scale target.
    ``values``: what speculation is worth, also to targets that have had no pods for less than an hour.
    """

    engines: Mapping[str, EngineMemory] = field(default_factory=dict)
    pools: Mapping[tuple[str, str], PoolMemory] = field(default_factory=dict)
    policies: Mapping[str, PolicyMemory] = field(default_factory=dict)
    requested: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    loads: Mapping[LoadKey, LoadMemory] = field(default_factory=dict)
    drift: DriftMemory = field(default_factory=DriftMemory)
    served: Mapping[tuple[str, str], float] = field(default_factory=dict)
    jobs: Mapping[JobName, JobSight] = field(default_factory=dict)
    failed_starts: FailedStarts = field(default_factory=dict)
    scale_events: Mapping[tuple[str, str], ScaleEvent] = field(default_factory=dict)
    profile_statuses: ProfileStatuses = field(default_factory=dict)
    preserved: Mapping[LoadKey, PreserveMemory] = field(default_factory=dict)
    variants: Mapping[tuple[str, str], VariantMemory] = field(default_factory=dict)
    values: Mapping[LoadKey, Value] = field(default_factory=dict)


def request_key(effect: CreateProfilingJob | HarvestProfile | EnsureRuntime) -> tuple[str, str, str]:
    """Under which key ``FleetMemory.requested`` holds this effect."""
    match effect:
        case CreateProfilingJob():
            return ("job", effect.namespace, effect.name)
        case HarvestProfile():
            return ("harvest", effect.namespace, effect.job)
        case EnsureRuntime():
            return ("runtime", effect.namespace, "")


def forget(memory: FleetMemory, failed: Iterable[Effect]) -> FleetMemory:
    """The memory without these effects, which did not reach the cluster: they are decided again next round.

    A document that an engine *refused* has reached it: leave it out, so that it is repeated with a growing pause.
    """
    engines, policies, requested = dict(memory.engines), dict(memory.policies), dict(memory.requested)
    served, profile_statuses = dict(memory.served), dict(memory.profile_statuses)
    for effect in failed:
        if isinstance(effect, PushControl):
            known = engines.get(effect.engine.uid)
            if known is not None:
                engines[effect.engine.uid] = replace(known, sent_id=None, sent_tries=0)
        elif isinstance(effect, SetPolicyStatus):
            policies.pop(effect.uid, None)
        elif isinstance(effect, CreateProfilingJob | HarvestProfile | EnsureRuntime):
            requested.pop(request_key(effect), None)
        elif isinstance(effect, WriteServedProfile):
            served.pop((effect.namespace, effect.key), None)
        elif isinstance(effect, SetProfileStatus):
            profile_statuses.pop(effect.uid, None)
    return replace(
        memory,
        engines=engines,
        policies=policies,
        requested=requested,
        served=served,
        profile_statuses=profile_statuses,
    )
