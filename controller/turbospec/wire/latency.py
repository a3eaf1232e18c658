"""Latency cells and fit as profiles and control documents carry them: integers, as custom resources hold no floats."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from turbospec.control.latency import FitCoefficients, LatencyModel, MeasuredCell, build_latency_model
from turbospec.wire.base import WireModel

PERMILLE = 1000
MICRO = 1_000_000
PICO = 1_000_000_000_000
MAX_SAMPLES = 1_000_000
MAX_PICOSECONDS = 600 * PICO
"""No step takes longer than a cell may say; and a number without a bound is one that no float holds."""

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
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES, description="Steps behind the median.")] = 1


class LatencyFit(WireModel):
    """Coefficients of the fitted step time, each in picoseconds per unit, none negative.

    step = per_step + per_batched_token * (decodes + drafted + prefill tokens) + per_kv_token * KV tokens
    + [K > 0] * per_drafting_step + drafted / decodes * per_draft_pass + drafted * per_draft_token,
    where drafted are the draft tokens verified: K * decodes where every draft is full.
    """

    per_step: Annotated[int, Field(ge=0, le=MAX_PICOSECONDS, description="Picoseconds per engine step.")]
    per_batched_token: Annotated[
        int, Field(ge=0, le=MAX_PICOSECONDS, description="Picoseconds per decode, verified draft or prefill token.")
    ]
    per_kv_token: Annotated[int, Field(ge=0, le=MAX_PICOSECONDS, description="Picoseconds per token of KV cache read.")]
    per_drafting_step: Annotated[
        int, Field(ge=0, le=MAX_PICOSECONDS, description="Picoseconds per step that drafts at all (K > 0).")
    ]
    per_draft_pass: Annotated[
        int, Field(ge=0, le=MAX_PICOSECONDS, description="Picoseconds per drafting pass (K of them a step).")
    ]
    per_draft_token: Annotated[
        int, Field(ge=0, le=MAX_PICOSECONDS, description="Picoseconds per drafted token, all requests together.")
    ]


class LatencyDocument(WireModel):
    """A latency model: measured cells first, the fit where there are none.

    ``doubt_permille``: relative standard deviation by which its costs may be off because it was measured on a similar
    engine only; absent for a profile of the very engine.
    """

    cells: Annotated[list[LatencyCell], Field(min_length=1, max_length=512, description="Measured step times.")]
    fit: LatencyFit
    doubt_permille: Annotated[int, Field(ge=1, le=1000)] | None = None

    def as_json(self) -> dict[str, Any]:
        """The camelCase form for JSON bodies and custom resources."""
        return self.model_dump(by_alias=True, exclude_none=True)


def to_model(document: LatencyDocument) -> LatencyModel:
    """The latency model of a document.

    Raises ``turbospec.control.latency.InvalidProfileError`` where cells or fit make no sense; its one line says which
    and what to do.
    """
    cells = [
        MeasuredCell(
            batch=cell.batch,
            context_tokens=cell.context_tokens,
            draft_tokens=cell.draft_tokens,
            prefill_tokens=cell.prefill_tokens,
            seconds=cell.microseconds / MICRO,
            samples=cell.samples,
        )
        for cell in document.cells
    ]
    fit = document.fit
    coefficients = FitCoefficients(
        per_step=fit.per_step / PICO,
        per_batched_token=fit.per_batched_token / PICO,
        per_kv_token=fit.per_kv_token / PICO,
        per_drafting_step=fit.per_drafting_step / PICO,
        per_draft_pass=fit.per_draft_pass / PICO,
        per_draft_token=fit.per_draft_token / PICO,
    )
    model = build_latency_model(cells, coefficients)
    return replace(model, doubt=document.doubt_permille / PERMILLE) if document.doubt_permille else model


def from_model(model: LatencyModel) -> LatencyDocument:
    """The document of a model: times rounded to microseconds (at least one), coefficients to picoseconds.

    Raises pydantic.ValidationError where the model exceeds what documents may hold (512 cells, 600 s).
    """
    cells = [
        LatencyCell(
            batch=cell.batch,
            context_tokens=cell.context_tokens,
            draft_tokens=cell.draft_tokens,
            prefill_tokens=cell.prefill_tokens,
            microseconds=max(1, round(cell.seconds * MICRO)),
            samples=min(cell.samples, MAX_SAMPLES),
        )
        for cell in model.cells
    ]
    fit = model.fit
    return LatencyDocument(
        cells=cells,
        fit=LatencyFit(
            per_step=round(fit.per_step * PICO),
            per_batched_token=round(fit.per_batched_token * PICO),
            per_kv_token=round(fit.per_kv_token * PICO),
            per_drafting_step=round(fit.per_drafting_step * PICO),
            per_draft_pass=round(fit.per_draft_pass * PICO),
            per_draft_token=round(fit.per_draft_token * PICO),
        ),
        doubt_permille=round(model.doubt * PERMILLE) or None,
    )
