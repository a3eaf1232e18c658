"""What the operator has observed, as the pure decider sees it. All frozen; times are seconds since the epoch."""

from dataclasses import dataclass, field
from enum import StrEnum

from turbospec.control.latency import LatencyModel
from turbospec.control.objective import Objective
from turbospec.control.region_fit import RegionFit
from turbospec.control.served_cells import ServedCell
from turbospec.fleet.advised import AdviceView
from turbospec.fleet.autoscalers import AutoscalerView, ForeignAutoscaler
from turbospec.fleet.demand import RequestCounts
from turbospec.fleet.effects import ConditionValue, DecisionReport, StoppedTemplate, TableRange, VariantRow
from turbospec.fleet.prometheus_answers import DemandHistory, QueriedDemand


class Mode(StrEnum):
    """SpeculationPolicy.spec.mode."""

    ENFORCE = "Enforce"
    ADVISE = "Advise"
    PAUSED = "Paused"


class ProfileSource(StrEnum):
    """SpeculationPolicy.spec.profiling.source."""

    JOB = "Job"
    SERVING = "Serving"
    EXISTING = "Existing"


class ProfilingCapacity(StrEnum):
    """SpeculationPolicy.spec.profiling.capacity."""

    EXISTING_NODES = "ExistingNodes"
    MAY_PROVISION = "MayProvision"


class EngineLoopMode(StrEnum):
    """SpeculationPolicy.spec.engine.loop."""

    LOCAL = "Local"
    TABLE = "Table"


class StartupVariant(StrEnum):
    """SpeculationPolicy.spec.autoscaling.startupVariant."""

    SPECULATIVE = "Speculative"
    PLAIN = "Plain"
    AUTO = "Auto"


@dataclass(frozen=True, slots=True)
class PolicyView:
    """One SpeculationPolicy. ``invalid`` is set when its spec could not be read: it then governs nothing.

    ``reported`` holds (type, reason) of the conditions in the resource's status now: an operator that restarts compares
    with them and repeats no event. ``stopped`` is what its crash-loop breaker has stopped by its status now,
    ``inject_anyway`` what a person wants injected all the same; ``variants`` how new pods start by that status.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    created_seconds: float
    match_labels: tuple[tuple[str, str], ...]
    mode: Mode
    loop: EngineLoopMode
    draft_tokens: tuple[int, ...]
    profile_source: ProfileSource
    invalid: str | None = None
    reported: tuple[tuple[str, str], ...] = ()
    objective: Objective = field(default_factory=Objective)
    capacity: ProfilingCapacity = ProfilingCapacity.EXISTING_NODES
    max_concurrent_nodes: int = 1
    stopped: tuple[StoppedTemplate, ...] = ()
    inject_anyway: frozenset[str] = frozenset()
    max_age_seconds: float | None = None
    preserve: bool = False
    demand_query: str | None = None
    horizon_seconds: float | None = None
    startup_variant: StartupVariant = StartupVariant.SPECULATIVE
    variants: tuple[VariantRow, ...] = ()


@dataclass(frozen=True, slots=True)
class PositionCounts:
    """Cumulative counts of one engine, by draft position, since its start."""

    drafted: tuple[int, ...]
    accepted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """What a profile key is the digest of (``turbospec.wire.identity``); ``engine_arguments`` by name, sorted."""

    hardware: str
    target: str
    drafter: str
    method: str
    engine_arguments: tuple[tuple[str, str], ...]
    engine_version: str


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What one engine said of itself (GET /v1/state).

    ``applied_overlay`` says that ``applied_id`` is a document with a time to live. ``draft_yield[j]`` is the share of
    the drafts asked for that are longer than j tokens; empty where the engine does not tell. ``unattainable``: whether
    the engine's own loop found that no K meets the objective, at the last step; None where it did not judge. ``table``
    is K by batch as now decided. ``requests`` is None where the engine does not count them.
    ``tokens_per_second`` is what it delivered lately; None until it has been watched for some seconds.
    ``regions``: measured over predicted step times under the latency model in force, by octave of batches.
    ``steps`` and ``generated_tokens`` count since the engine's start.
    """

    engine_id: str
    profile_key: str
    max_num_seqs: int
    engine_draft_tokens: tuple[int, ...]
    applied_id: str | None
    applied_epoch: int | None
    draft_tokens: int | None
    running: int
    waiting: int
    kv_tokens: int
    decodes: int
    drafts: int
    counts: PositionCounts
    acceptance: tuple[float | None, ...]
    acceptance_samples: tuple[float, ...]
    unsupported_code: str | None = None
    unsupported_message: str = ""
    applied_overlay: bool = False
    draft_yield: tuple[float | None, ...] = ()
    unattainable: bool | None = None
    decision: DecisionReport | None = None
    regions: tuple[RegionFit, ...] = ()
    identity: EngineIdentity | None = None
    table: tuple[TableRange, ...] = ()
    requests: RequestCounts | None = None
    max_num_batched_tokens: int = 0
    kv_cache_tokens: int = 0
    graph_sizes: tuple[int, ...] = ()
    tokens_per_second: float | None = None
    steps: int = 0
    generated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod that some policy selects.

    ``report`` is None while the engine cannot be reached; ``unreachable`` says why. ``owner`` is what
    ``kubectl rollout restart`` takes, for example ``deployment/chat``; ``controller`` is the pod's own owner, of any
    kind. ``ready_since_seconds`` is when it last became Ready, None where it is not. ``refusal`` is the engine's answer
    (``code: message``) to the last document put to it, where it refused that document. ``cells`` are the step times
    that its engine has measured while serving, where a policy wants them (asked for once a minute).
    ``changed_seconds`` is since when it is terminating, or not Ready; None where it is neither. ``template`` is the
    digest that the webhook gave it; ``failed_start`` says how its engine ended before the pod was ever Ready.
    ``variant`` is the variant that the webhook started it as (``Speculative``, ``Plain``), or ``Refused``; None where
    the policy had it start with the drafter. ``speculation`` is what it said of the drafter.
    ``no_node`` is why the scheduler finds no node for it, in its words; empty where it has one, or was not tried.
    """

    namespace: str
    name: str
    uid: str
    node: str | None
    labels: tuple[tuple[str, str], ...]
    owner: str | None
    ready: bool
    terminating: bool
    injected: bool
    not_injected_reason: str | None = None
    report: EngineReport | None = None
    unreachable: str | None = None
    refusal: str | None = None
    changed_seconds: float | None = None
    template: str | None = None
    failed_start: str | None = None
    controller: str | None = None
    cells: tuple[ServedCell, ...] = ()
    created_seconds: float = 0.0
    ready_since_seconds: float | None = None
    variant: str | None = None
    speculation: str | None = None
    no_node: str = ""


@dataclass(frozen=True, slots=True)
class PlainView:
    """What a profile says of the same engine started without the drafter.

    ``latency`` is of K = 0 only; ``hold_out_error`` the median relative error of a fit on cells that it had not seen,
    None where they are too few to tell. ``start_seconds`` is that of a start which found its files cached.
    """

    latency: LatencyModel
    kv_cache_tokens: int
    start_seconds: float
    hold_out_error: float | None = None


@dataclass(frozen=True, slots=True)
class ProfileView:
    """One SpeculationProfile, or, without a namespace, one ClusterSpeculationProfile, which is for all of them.

    ``latency`` is None when its content was refused; ``invalid`` says why. ``coverage``: what of the planned cells was
    measured, where the profile says it. ``identity`` is that of the engine it was measured on, ``measured_seconds``
    when that was. ``served``: it was grown while engines served, not measured by a Job or a person.
    ``hold_out_error``: the fit's median relative error on cells that it had not seen, where the profile says it.
    ``reported`` are the conditions in its status now. ``plain`` is None where the engine was not measured without its
    drafter, and where what is said of that was refused: ``plain_invalid`` then says why.
    """

    namespace: str | None
    name: str
    key: str
    latency: LatencyModel | None
    invalid: str | None = None
    coverage: str | None = None
    identity: EngineIdentity | None = None
    measured_seconds: float | None = None
    served: bool = False
    hold_out_error: float | None = None
    uid: str = ""
    generation: int = 0
    reported: tuple[ConditionValue, ...] = ()
    plain: PlainView | None = None
    plain_invalid: str | None = None


class JobPhase(StrEnum):
    """Where a profiling Job stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class JobView:
    """One profiling Job. ``harvestable`` says that its pod left a result whose checksum holds.

    ``waiting`` is why a running Job's pod does not run, in one sentence; empty where it does. ``node`` is where its pod
    is or will be, where that is known; ``unchecked`` the permission for want of which nobody looked whether that
    has room.
    """

    namespace: str
    name: str
    key: str
    phase: JobPhase
    harvestable: bool
    failure: str = ""
    finished_seconds: float | None = None
    attempt: int = 1
    waiting: str = ""
    node: str | None = None
    unchecked: str = ""
    created_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class JobObstacle:
    """Why the profiling Job of this name, for this key, could not be created when it was tried last, and what to do.

    ``forbidden``: the operator lacks the permission.
    """

    namespace: str
    name: str
    key: str
    message: str
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Everything one round of the fleet loop decides on."""

    now_seconds: float
    epoch: int
    policies: tuple[PolicyView, ...] = ()
    pods: tuple[PodView, ...] = ()
    profiles: tuple[ProfileView, ...] = ()
    jobs: tuple[JobView, ...] = ()
    denied: tuple[str, ...] = field(default=())
    """Permissions the operator lacks, each as ``verb resource in namespace: consequence``."""
    obstacles: tuple[JobObstacle, ...] = ()
    autoscalers: tuple[AutoscalerView, ...] = ()
    advice: tuple[AdviceView, ...] = ()
    """For policies of mode Advise, as far as it has been worked out."""
    foreign_autoscalers: tuple[ForeignAutoscaler, ...] = ()
    queried: tuple[QueriedDemand, ...] = ()
    history: DemandHistory | None = None
