"""Latency cells and fit as profiles and control documents carry them: integers, as custom resources hold no floats."""

from typing import Annotated, Any

from pydantic import Field

from turbospec.wire.base import WireModel

Count = Annotated[int, Field(ge=0, le=100_000_000)]


class LatencyCell(WireModel):
    """One measured point: the median duration of an engine step with this composition."""

    batch: Annotated[int, Field(ge=1, le=65536, description="Requests decoding in the step.")]
    context_tokens: Annotated[
        int, Field(ge=0, le=10_000_000, description="Mean context length of those requests, in tokens.")
    ]
    draft_tokens: Annotated[int, Field(ge=0, le=64, description="Draft tokens verified per request (K).")]
    prefill_tokens: Annotated[int, Field(ge=0, le=1_000_000, description="Prefill tokens in the same step.")] = 0
    microseconds: Annotated[int, Field(ge=1, le=600_000_000, description="Median step time.")]
    samples: Annotated[int, Field(ge=1, le=1_000_000, description="Steps behind the median.")] = 1


class LatencyFit(WireModel):
    """Coefficients of the fitted step time, each in picoseconds per unit, none negative.

    step = per_step + per_batched_token * (decodes + draft tokens verified + prefill tokens) + per_kv_token * KV tokens
    + [K > 0] * per_drafting_step + K * per_draft_pass + K * decodes * per_draft_token.
    """

    per_step: Annotated[int, Field(ge=0, description="Picoseconds per engine step.")]
    per_batched_token: Annotated[
        int, Field(ge=0, description="Picoseconds per decode, verified draft or prefill token.")
    ]
    per_kv_token: Annotated[int, Field(ge=0, description="Picoseconds per token of KV cache read.")]
    per_drafting_step: Annotated[int, Field(ge=0, description="Picoseconds per step that drafts at all (K > 0).")]
    per_draft_pass: Annotated[int, Field(ge=0, description="Picoseconds per drafting pass (K of them a step).")]
    per_draft_token: Annotated[int, Field(ge=0, description="Picoseconds per drafted token, all requests together.")]


class LatencyDocument(WireModel):
    """A latency model: measured cells first, the fit where there are none."""

    cells: Annotated[list[LatencyCell], Field(min_length=1, max_length=512, description="Measured step times.")]
    fit: LatencyFit

    def as_json(self) -> dict[str, Any]:
        """The camelCase form for JSON bodies and custom resources."""
        return self.model_dump(by_alias=True, exclude_none=True)
