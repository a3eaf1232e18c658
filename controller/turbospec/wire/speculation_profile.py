"""The SpeculationProfile custom resource (turbospec.io/v1alpha1): what one kind of hardware and engine measured."""

from typing import Annotated

from pydantic import Field

from turbospec.wire.base import LenientModel, WireModel
from turbospec.wire.conditions import Condition
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyCell, LatencyFit


class Provenance(WireModel):
    """Where and when a profile was measured."""

    node: Annotated[str | None, Field(max_length=253)] = None
    job: Annotated[str | None, Field(max_length=253)] = None
    image: Annotated[str | None, Field(max_length=1024)] = None
    measured_at: Annotated[str | None, Field(json_schema_extra={"format": "date-time"})] = None
    duration_seconds: Annotated[int | None, Field(ge=0)] = None
    runtime_version: Annotated[str | None, Field(max_length=64)] = None


class SpeculationProfileSpec(WireModel):
    """Measured cells and their fit. Hand-written and imported ones are welcome."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="Digest of the identity.")]
    identity: ProfileIdentity
    cells: Annotated[list[LatencyCell], Field(min_length=1, max_length=512)]
    fit: LatencyFit
    hold_out_error_permille: Annotated[
        int | None, Field(ge=0, le=1000, description="Median error of the fit on cells it has not seen, in permille.")
    ] = None
    kv_cache_tokens: Annotated[int | None, Field(ge=0)] = None
    provenance: Provenance = Provenance()


class SpeculationProfileStatus(LenientModel):
    """What the operator thinks of the profile."""

    conditions: Annotated[
        list[Condition],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
