"""``spec.autoscaling`` of a SpeculationPolicy: how TurboSpec gets on with the autoscaler. It never writes replicas."""

from typing import Annotated

from pydantic import AfterValidator, Field

from turbospec.wire.base import WireModel
from turbospec.wire.cel import rules

_EMPTY = "autoscaling.demandQuery is empty: write a PromQL query of requests per second, or remove it"


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError(_EMPTY)
    return text


PromQL = Annotated[
    str,
    Field(max_length=4096, json_schema_extra=rules(("self.matches('[^[:space:]]')", _EMPTY))),
    AfterValidator(_said),
]
"""A query, which only a Prometheus can judge."""


class AutoscalingSpec(WireModel):
    """What the load is taken from, and what is done for an autoscaler that reads something else."""

    preserve: Annotated[
        bool,
        Field(
            description="Keep an autoscaler whose metric speculation distorts (inter-token latency, KV cache usage, "
            "running requests) from asking for more pods than it would at K=0: K is bounded while it would. For those "
            "who cannot change the metric; condition ScalingCompatible is then True with reason Preserved.",
        ),
    ] = False
    demand_query: Annotated[
        PromQL | None,
        Field(
            description="PromQL that says how many requests per second come for this policy's pods, as one number: "
            "gateways queue too, and count what engines have not seen yet. The operator asks its own Prometheus with "
            "its own access. Where it gives no number, what engines count themselves is taken, and condition "
            "DemandKnown is False.",
        ),
    ] = None
