"""What an engine says of itself (GET /v1/state, GET /v1/steps)."""

from pydantic import Field

from turbospec.wire.base import LenientModel
from turbospec.wire.control_document import PolicyReference, TableRow
from turbospec.wire.identity import ProfileIdentity


class EngineInfo(LenientModel):
    """Who answers. ``id`` is new with every start of the engine process."""

    id: str
    vllm_version: str
    runtime_version: str
    data_parallel_rank: int = 0


class EngineLimits(LenientModel):
    """What start-up fixed. ``allowed_draft_tokens``: the K whose graphs were captured (all K where none are).

    ``graph_sizes`` are the captured batch sizes in tokens; empty where nothing is captured or it is not known.
    ``kv_block_tokens`` is the size of a KV cache block, of which every request holds whole ones; None: not known.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    max_draft_tokens: int
    allowed_draft_tokens: list[int]
    kv_cache_tokens: int
    graph_sizes: list[int] = Field(default_factory=list)
    kv_block_tokens: int | None = None


class Unsupported(LenientModel):
    """Why this engine cannot be controlled; it serves as if TurboSpec were not there."""

    code: str
    message: str


class SteeringState(LenientModel):
    """How K takes effect. ``draft_length``: who makes drafts K long, ``native`` (vLLM) or ``trimmed`` (TurboSpec).

    ``draft_cost``: what making them costs, ``scales with K``, ``fixed`` at that of the maximum, or ``none``.
    """

    draft_length: str
    draft_cost: str


class AppliedControl(LenientModel):
    """The document in force."""

    id: str
    epoch: int
    mode: str
    step: int
    overlay: bool = False
    policy: PolicyReference | None = None


class EngineLoad(LenientModel):
    """Occupancy now; ``decodes`` and ``kv_tokens`` are those of the last step with work."""

    running: int
    waiting: int
    decodes: int
    kv_tokens: int
    kv_cache_usage: float


class PositionEstimate(LenientModel):
    """One draft position: conditional acceptance and yield (share of asked drafts that reach it); None is unknown."""

    acceptance: float | None
    draft_yield: float | None
    samples: float


class PredictedGoodput(LenientModel):
    """Predicted delivered tokens per second at one K, for the composition last decided on."""

    draft_tokens: int
    tokens_per_second: float


class DecisionState(LenientModel):
    """The last decision: K, why, and what every other K was expected to deliver.

    ``bounding``: what keeps a longer draft, or one of higher goodput, from being used; None where the reason says it.
    """

    draft_tokens: int
    reason: str
    bounding: str | None = None
    predictions: list[PredictedGoodput] = Field(default_factory=list)


class StepTimeRegion(LenientModel):
    """Batches from ``batch`` to below twice that: median of measured / predicted step time lately, uncorrected.

    ``steps`` were compared since the document came into force. ``off``: beyond a third, for more than a moment.
    """

    batch: int
    ratio: float
    steps: int
    off: bool


class ProbingState(LenientModel):
    """What looking again at other K has cost since the start: predicted loss of time and tokens, of all step time."""

    bursts: int
    spent_seconds: float
    elapsed_seconds: float
    lost_tokens: float


class EngineCounters(LenientModel):
    """Since the engine started; positions are indexed from 0."""

    steps: int
    drafts: int
    draft_tokens: int
    accepted_tokens: int
    generated_tokens: int
    drafted_per_position: list[int]
    accepted_per_position: list[int]
    control_documents_applied: int
    control_documents_refused: int
    table_rebuilds: int


class RequestCounters(LenientModel):
    """Requests since the engine started, whatever K was.

    ``arrived`` counts those that came, ``admitted`` those of them that were scheduled at least once: their prompts are
    ``prompt_tokens``. ``prefill_tokens`` are what steps have computed of prompts: without what the prefix cache had,
    and again what was preempted. ``output_tokens`` belong to the ``finished`` requests.
    """

    arrived: int
    admitted: int
    prompt_tokens: int
    prefill_tokens: int
    finished: int
    output_tokens: int


class EngineState(LenientModel):
    """The whole answer of GET /v1/state."""

    control_versions: list[int]
    engine: EngineInfo
    identity: ProfileIdentity
    profile_key: str
    limits: EngineLimits
    unsupported: Unsupported | None = None
    steering: SteeringState | None = None
    """None where K cannot be steered, and from runtimes that do not say."""
    applied: AppliedControl | None = None
    table: list[TableRow]
    load: EngineLoad
    acceptance: list[PositionEstimate]
    counters: EngineCounters
    requests: RequestCounters | None = None
    """None: this runtime, or this release of vLLM, does not let them be counted."""
    decision: DecisionState | None = None
    latency_bias: float | None = None
    off_profile: bool = False
    """Step times are off the profile by more than a third: this engine is not what was measured."""
    step_time_regions: list[StepTimeRegion] = Field(default_factory=list, max_length=32)
    probing: ProbingState | None = None
    uptime_seconds: float


class ServedCells(LenientModel):
    """Step times by cell of batch, context and K, as traffic has visited them: at most 256 rows, the latest last.

    ``rows[i][j]`` is field ``fields[j]`` of ``turbospec.control.served_cells.ServedCell``.
    """

    fields: list[str]
    rows: list[list[int | float | bool]] = Field(max_length=1024)


class StepsPage(LenientModel):
    """Recent step records, oldest first, at most 256 rows: ``rows[i][j]`` is field ``fields[j]``.

    ``next`` is the sequence number to ask for next (``?since=``); a gap before the first row means records were lost.
    """

    fields: list[str]
    rows: list[list[int | float | list[int] | None]]
    next: int
