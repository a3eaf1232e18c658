"""The SpeculationProfile custom resource (turbospec.io/v1alpha1): what one kind of hardware and engine measured."""

from typing import Annotated, Literal

from pydantic import Field

from turbospec.wire.base import LenientModel, WireModel
from turbospec.wire.cel import rules
from turbospec.wire.conditions import Condition
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyCell, LatencyFit
from turbospec.wire.plain_engine import PlainEngine
from turbospec.wire.profile_result import MAX_COVERAGE


class Provenance(WireModel):
    """Where and when a profile was measured."""

    source: Annotated[
        Literal["Job", "Serving"] | None,
        Field(description="Job: measured on purpose. Serving: grown from what engines measured while they served."),
    ] = None
    node: Annotated[str | None, Field(max_length=253, description="Node that it was measured on.")] = None
    job: Annotated[str | None, Field(max_length=253, description="Job that measured it.")] = None
    image: Annotated[str | None, Field(max_length=1024, description="Image of the engine that was measured.")] = None
    measured_at: Annotated[
        str | None, Field(description="When the measurement ended.", json_schema_extra={"format": "date-time"})
    ] = None
    duration_seconds: Annotated[int | None, Field(ge=0, description="How long it took, in seconds.")] = None
    start_seconds: Annotated[
        int | None, Field(ge=0, description="From the start of vLLM's process until it served, in seconds.")
    ] = None
    runtime_version: Annotated[str | None, Field(max_length=64, description="TurboSpec version that measured it.")] = (
        None
    )
    coverage: Annotated[
        str | None,
        Field(
            max_length=MAX_COVERAGE,
            description="How many of the planned cells (batch x context) were measured before time was up, and the "
            "batches without any; the fit stands in for what is missing.",
        ),
    ] = None


class SpeculationProfileSpec(WireModel):
    """Measured cells and their fit. Hand-written and imported ones are welcome."""

    key: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{16}$",
            description="Digest of the identity, 16 hexadecimal digits; engines report theirs in GET /v1/state.",
            json_schema_extra=rules(
                (
                    "self == oldSelf",
                    "key cannot change, the measurements belong to it: create another SpeculationProfile instead",
                ),
            ),
        ),
    ]
    identity: Annotated[
        ProfileIdentity, Field(description="What the measurements hold for, as the engine reported it.")
    ]
    cells: Annotated[
        list[LatencyCell],
        Field(
            min_length=1,
            max_length=512,
            description="Measured step times.",
            json_schema_extra=rules(
                (
                    "self.exists(cell, cell.draftTokens == 0)",
                    "cells must hold at least one with draftTokens 0: "
                    "without it nothing tells what speculation costs; measure K = 0 too",
                ),
            ),
        ),
    ]
    fit: Annotated[
        LatencyFit,
        Field(
            description="Step time where no cell was measured.",
            json_schema_extra=rules(
                (
                    "self.perStep > 0 || self.perBatchedToken > 0 || self.perKvToken > 0",
                    "fit says that steps cost nothing: set perStep, perBatchedToken or perKvToken, in picoseconds",
                ),
            ),
        ),
    ]
    hold_out_error_permille: Annotated[
        int | None, Field(ge=0, le=1000, description="Median error of the fit on cells it has not seen, in permille.")
    ] = None
    kv_cache_tokens: Annotated[int | None, Field(ge=0, description="Tokens that the engine's KV cache held.")] = None
    plain: Annotated[
        PlainEngine | None,
        Field(
            description="The same engine started without speculation: faster than this one at K = 0, with more KV "
            "cache. Absent where there was no time for a second start."
        ),
    ] = None
    provenance: Provenance = Provenance()


class SpeculationProfileStatus(LenientModel):
    """What the operator thinks of the profile."""

    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            default_factory=list,
            description="Whether the profile can be used, and why not.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ]
