"""What the fleet loop wants done. Adapters carry effects out; a failed one is simply decided again next round."""

from dataclasses import dataclass, field

from turbospec.control.latency import LatencyModel
from turbospec.control.objective import Objective


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Names the engine in a pod."""

    namespace: str
    pod: str
    uid: str


@dataclass(frozen=True, slots=True)
class TableRange:
    """K for batches ``from_batch`` to ``to_batch``, both included."""

    from_batch: int
    to_batch: int
    draft_tokens: int


@dataclass(frozen=True, slots=True)
class PriorPosition:
    """Pooled acceptance of one draft position and the samples behind it."""

    acceptance: float
    samples: float


@dataclass(frozen=True, slots=True)
class PushControl:
    """Put this control document to the engine. ``document_id`` is a digest of the content: equal content, equal id."""

    engine: EngineAddress
    document_id: str
    policy_namespace: str
    policy_name: str
    policy_generation: int
    table: tuple[TableRange, ...] | None
    allowed_draft_tokens: tuple[int, ...]
    latency: LatencyModel | None
    prior: tuple[PriorPosition, ...]
    reason: str
    ttl_seconds: float | None = None
    objective: Objective = field(default_factory=Objective)


@dataclass(frozen=True, slots=True)
class EnsureRuntime:
    """The runtime ConfigMap must exist in this namespace."""

    namespace: str


@dataclass(frozen=True, slots=True)
class CreateProfilingJob:
    """Create the Job with this deterministic name (AlreadyExists is success) from the pod's own template."""

    namespace: str
    name: str
    key: str
    template_pod: str
    policy: str
    policy_uid: str
    draft_tokens: tuple[int, ...]
    attempt: int
    nodes: tuple[str, ...] = ()
    """Nodes that serve with this key, and so have this hardware, the template pod's first."""
    may_provision: bool = False
    """Whether a new node may come up for it."""
    busy_nodes: tuple[str, ...] = ()
    """Nodes on which another Job measures: two on one node would measure each other."""


@dataclass(frozen=True, slots=True)
class HarvestProfile:
    """Write the Job's result as a SpeculationProfile; ``replaces``: also where one of that name is there."""

    namespace: str
    job: str
    profile: str
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class WriteServedProfile:
    """Write what engines measured while serving as a SpeculationProfile, over one of this name. ``pod`` tells whose
    identity it has."""

    namespace: str
    name: str
    key: str
    pod: str
    model: LatencyModel
    coverage: str


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """A condition without its times; the adapter keeps lastTransitionTime."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StoppedTemplate:
    """Pods that are injected no more, by the digest that the webhook gives them, and why."""

    template: str
    message: str


@dataclass(frozen=True, slots=True)
class VariantRow:
    """How new pods of one scale target start: ``plain``, without the drafter, or with it.

    ``selector`` is the target's own, where an autoscaler names it. ``scout_seconds``: since when the next pod may start
    with the drafter although plain ones are wanted.
    """

    target: str
    plain: bool
    reason: str
    message: str = ""
    selector: str | None = None
    since_seconds: float | None = None
    speculative_pods: int = 0
    plain_pods: int = 0
    scout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DecisionReport:
    """Why an engine runs its K: its own words, and the goodput (whole tokens per second) it expected of each K."""

    draft_tokens: int
    reason: str
    bounding: str | None = None
    predictions: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class EngineSummary:
    """One row of the policy's status."""

    pod: str
    node: str | None
    controlled: bool
    draft_tokens: int | None
    batch: int | None
    acceptance_percent: int | None
    profile: str | None
    reason: str
    message: str
    decision: DecisionReport | None = None
    hardware: str | None = None
    tokens_per_second: int | None = None
    schedule: tuple[TableRange, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """What speculation is worth to the pods of one scale target and profile key: the share of the replicas that it
    saves, at least and at most, in percent; None where ``reason`` says why it is not known."""

    target: str
    profile_key: str
    reason: str
    recommended: str | None = None
    saved_percent: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SetPolicyStatus:
    """The policy's whole status."""

    namespace: str
    name: str
    uid: str
    observed_generation: int
    conditions: tuple[ConditionValue, ...]
    pods: int
    controlled: int
    profile: str | None
    draft_tokens: str | None
    engines: tuple[EngineSummary, ...]
    stopped: tuple[StoppedTemplate, ...] = ()
    advice: str | None = None
    variants: tuple[VariantRow, ...] = ()
    targets: tuple[TargetSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class SetProfileStatus:
    """The conditions of a SpeculationProfile."""

    namespace: str
    name: str
    uid: str
    observed_generation: int
    conditions: tuple[ConditionValue, ...]


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """A Kubernetes event on a policy, or on the pod of one of its engines; decided on changes only.

    On a pod there is one of each reason, as long as it is kept (an hour), however often it is decided.
    """

    namespace: str
    policy: str
    policy_uid: str
    type: str
    reason: str
    message: str
    regarding: EngineAddress | None = None


Effect = (
    PushControl
    | EnsureRuntime
    | CreateProfilingJob
    | HarvestProfile
    | WriteServedProfile
    | SetPolicyStatus
    | SetProfileStatus
    | EmitEvent
)
