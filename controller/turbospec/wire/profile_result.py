"""What a profiling run reports through its container's termination message."""

from typing import Annotated

from pydantic import Field

from turbospec.wire.base import WireModel
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyCell, LatencyFit
from turbospec.wire.plain_engine import PlainEngine

MAX_COVERAGE = 200
"""Characters: a column of ``kubectl get``, and a twentieth of what a termination message holds."""


class ProfileResult(WireModel):
    """The measured profile; the codec in ``turbospec.profiling.codec`` makes it fit 4,096 bytes."""

    identity: ProfileIdentity
    cells: Annotated[list[LatencyCell], Field(min_length=1, max_length=512)]
    fit: LatencyFit
    hold_out_error_permille: Annotated[int, Field(ge=0, le=1000)]
    kv_cache_tokens: Annotated[int, Field(ge=0)]
    duration_seconds: Annotated[int, Field(ge=0)]
    runtime_version: str
    coverage: Annotated[str, Field(max_length=MAX_COVERAGE)] | None = None
    """What of the planned grid was measured, in one line; runtimes before it had been thought of leave it out."""
    start_seconds: Annotated[int, Field(ge=0)] | None = None
    """From the start of vLLM's process until it served."""
    plain: PlainEngine | None = None
    """The engine without speculation, where there was time for a second start."""
