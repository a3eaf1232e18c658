"""ENGINE.yaml and WORKLOAD.yaml: the only place where the simulator turns bytes into types."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from turbospec.wire.base import WireModel

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
DraftTokens = Annotated[int, Field(ge=0, le=64)]

DEFAULT_PREFILL_TOKENS_PER_SECOND = 20000.0
"""For step time tables that say nothing of prefill: about what an 8B model reaches on one H100."""


class ScenarioError(ValueError):
    """A file that cannot be used; one line for each fault, with file and field."""


class StepTable(WireModel):
    """Step times by batch (rows) and draft tokens per request (columns)."""

    batch: Annotated[list[Count], Field(min_length=1)]
    draft_tokens: Annotated[list[DraftTokens], Field(min_length=1)]
    milliseconds: Annotated[list[list[Positive]], Field(min_length=1)]

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        for name, axis in (("batch", self.batch), ("draftTokens", self.draft_tokens)):
            if any(a >= b for a, b in pairwise(axis)):
                raise ValueError(f"{name} must rise: {axis}")
        if len(self.milliseconds) != len(self.batch):
            raise ValueError(f"milliseconds has {len(self.milliseconds)} rows for {len(self.batch)} batches")
        for number, row in enumerate(self.milliseconds):
            if len(row) != len(self.draft_tokens):
                raise ValueError(
                    f"milliseconds[{number}] has {len(row)} values for {len(self.draft_tokens)} draftTokens"
                )
        if self.draft_tokens[0] != 0:
            raise ValueError("draftTokens must begin with 0: without it nothing tells what drafting costs")
        return self


class LinearStepTime(WireModel):
    """Seconds per unit: target forward, one draft pass, and the rest of the step."""

    seconds_per_kv_token: NotNegative
    seconds_per_batched_token: NotNegative
    seconds_per_step: NotNegative
    draft_seconds_per_kv_token: NotNegative = 0.0
    draft_seconds_per_token: NotNegative = 0.0
    draft_seconds_per_pass: NotNegative = 0.0
    overhead_seconds: NotNegative = 0.0

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.seconds_per_step + self.overhead_seconds + self.seconds_per_batched_token == 0:
            raise ValueError("a step takes no time: set secondsPerStep, overheadSeconds or secondsPerBatchedToken")
        return self


class StepTimeSpec(WireModel):
    """Exactly one of ``table`` and ``linear``."""

    table: StepTable | None = None
    linear: LinearStepTime | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.table is None) == (self.linear is None):
            raise ValueError("give exactly one of table and linear")
        return self


class GraphSpec(WireModel):
    """Steps are padded up to the next of these sizes in tokens; above the last one they run eagerly."""

    padded_to: Annotated[list[Count], Field(min_length=1)]
    eager_factor: Annotated[float, Field(ge=1)] = 1.0

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if sorted(set(self.padded_to)) != self.padded_to:
            raise ValueError(f"paddedTo must rise: {self.padded_to}")
        return self


class NoiseSpec(WireModel):
    """Noise of each step's time."""

    relative_standard_deviation: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    outlier_probability: Share = 0.0
    outlier_factor: Annotated[float, Field(ge=1)] = 1.0


class DriftSpec(WireModel):
    """How the engine differs from itself from second ``at`` on; the next entry replaces this one."""

    at: NotNegative
    factor: Positive = 1.0
    per_token_factor: Positive = 1.0
    draft_factor: Positive = 1.0
    graphs_lost: bool = False


class PlainSpec(WireModel):
    """The same engine started without the drafter, against this one at K = 0."""

    speedup: Positive
    kv_cache_tokens: Count | None = None


class EngineFile(WireModel):
    """ENGINE.yaml."""

    max_num_seqs: Annotated[int, Field(ge=1, le=4096)]
    max_draft_tokens: Annotated[int, Field(ge=1, le=64)]
    allowed_draft_tokens: Annotated[list[DraftTokens] | None, Field(min_length=1)] = None
    kv_cache_tokens: Count
    max_num_batched_tokens: Count = 8192
    max_model_len: Count = 32768
    step_time: StepTimeSpec
    prefill_tokens_per_second: Positive | None = None
    """With a table only: linear step times count prefill as batched tokens."""
    graph: GraphSpec | None = None
    draft_always: bool = False
    noise: NoiseSpec = NoiseSpec()
    drift: list[DriftSpec] = Field(default_factory=list)
    plain: PlainSpec | None = None

    @property
    def allowed(self) -> tuple[int, ...]:
        """The K that may be used, ascending."""
        return tuple(sorted(set(self.allowed_draft_tokens or range(self.max_draft_tokens + 1))))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.allowed[-1] > self.max_draft_tokens:
            raise ValueError(
                f"allowedDraftTokens holds {self.allowed[-1]}, above maxDraftTokens {self.max_draft_tokens}"
            )
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError("maxNumBatchedTokens is below maxNumSeqs: not every request could decode in a step")
        if any(a.at >= b.at for a, b in pairwise(self.drift)):
            raise ValueError("drift entries must follow each other in time")
        return self


class TextSpec(WireModel):
    """What the text of requests is like.

    A list shorter than the draft goes on with its last value. ``acceptance`` is conditional, by position;
    ``draft_yield`` is the share of requests that get a draft token at the position, and may not rise.
    """

    ONE_FOR_ALL: ClassVar[frozenset[str]] = frozenset({"acceptance", "draftYield", "draft_yield"})
    """Lists for which one number may stand: the same at every position."""

    acceptance: Annotated[list[Share], Field(min_length=1)]
    acceptance_spread: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    draft_yield: Annotated[list[Share], Field(min_length=1)] = Field(default_factory=lambda: [1.0])

    @model_validator(mode="before")
    @classmethod
    def _scalars(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {k: [v] if k in cls.ONE_FOR_ALL and isinstance(v, int | float) else v for k, v in data.items()}

    @model_validator(mode="after")
    def _drafts_end(self) -> Self:
        if any(a < b for a, b in pairwise(self.draft_yield)):
            raise ValueError(f"draftYield may not rise with the position: {self.draft_yield}")
        return self


class PhaseSpec(TextSpec):
    """A part of the workload: where requests come from, and what their text is like."""

    seconds: Positive | None = None
    clients: Annotated[int, Field(ge=0, le=100_000)] | None = None
    poisson_per_second: Positive | None = None
    trace: str | None = None
    speed: Positive | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    length_spread: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = {"clients": self.clients, "poissonPerSecond": self.poisson_per_second, "trace": self.trace}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of clients, poissonPerSecond and trace, not {given or 'none'}")
        lengths = (self.prompt_tokens, self.output_tokens)
        if self.trace is None and (None in lengths or self.seconds is None):
            raise ValueError(f"{given[0]} needs seconds, promptTokens and outputTokens")
        if self.trace is not None and lengths != (None, None):
            raise ValueError("promptTokens and outputTokens come from the trace: leave them out")
        if self.speed is not None and self.trace is None:
            raise ValueError("speed goes with a trace")
        return self


class WorkloadFile(WireModel):
    """WORKLOAD.yaml."""

    phases: Annotated[list[PhaseSpec], Field(min_length=1)]


Model = TypeVar("Model", bound=WireModel)


def load(path: Path, model: type[Model]) -> Model:
    """The contents of a YAML file. ScenarioError, with file and field, where it cannot be used."""
    return parse(read_yaml(path), model, str(path))


def parse(data: Any, model: type[Model], name: str) -> Model:
    """``data`` as a model; ``name`` is the file that errors name."""
    if not isinstance(data, Mapping):
        raise ScenarioError(f"{name}: expected a mapping of fields at the top, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ScenarioError("\n".join(f"{name}: {line}" for line in _lines(error))) from error


def read_yaml(path: Path) -> Any:
    """The parsed file. ScenarioError, with file and line, where that is impossible."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ScenarioError(f"{path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False):
        field = ""
        for part in fault["loc"]:
            field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else str(part)
        found = fault["input"]
        shown = f" (found {found!r})" if isinstance(found, int | float | str) else ""
        message = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{field or 'file'}: {message}{shown}")
    return lines
