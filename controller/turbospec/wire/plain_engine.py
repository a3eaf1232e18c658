"""The same engine started without speculation, as a profiling run and a SpeculationProfile carry it."""

from typing import Annotated

from pydantic import Field

from turbospec.control.latency import MeasuredCell
from turbospec.wire.base import WireModel
from turbospec.wire.latency import MAX_SAMPLES, MICRO


class PlainCell(WireModel):
    """One measured point: the median duration of a step of that many decodes."""

    batch: Annotated[int, Field(ge=1, le=65536, description="Requests decoding in the step.")]
    context_tokens: Annotated[
        int, Field(ge=0, le=10_000_000, description="Mean context length of those requests, in tokens.")
    ]
    microseconds: Annotated[int, Field(ge=1, le=600_000_000, description="Median step time.")]
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES, description="Steps behind the median.")] = 1


class PlainEngine(WireModel):
    """What was measured of it. ``start_seconds`` is of a start that found files and compiled code in their caches."""

    cells: Annotated[list[PlainCell], Field(max_length=256, description="Measured step times without speculation.")]
    kv_cache_tokens: Annotated[int, Field(ge=0, description="Tokens that its KV cache held.")]
    start_seconds: Annotated[
        int, Field(ge=0, description="From the start of its process until it served, files cached by the first start.")
    ]


def measured_cells(plain: PlainEngine) -> tuple[MeasuredCell, ...]:
    """Its cells in seconds, all of K = 0 and without prefill."""
    return tuple(
        MeasuredCell(
            batch=cell.batch,
            context_tokens=cell.context_tokens,
            draft_tokens=0,
            prefill_tokens=0,
            seconds=cell.microseconds / MICRO,
            samples=cell.samples,
        )
        for cell in plain.cells
    )
