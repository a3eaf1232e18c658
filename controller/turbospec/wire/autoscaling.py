"""``spec.autoscaling`` of a SpeculationPolicy: how TurboSpec gets on with the autoscaler. It never writes replicas."""

import re
from typing import Annotated, Literal

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


_HORIZON = "^[1-9][0-9]{0,3}[sm]$"
_HORIZON_MESSAGE = "autoscaling.horizon must be 60s to 3600s, or 1m to 60m: write 5m for five minutes"


def horizon_seconds(text: str) -> float:
    """Seconds of a horizon. Raises ValueError, saying what to write, for anything else."""
    seconds = 0 if re.fullmatch(_HORIZON, text) is None else int(text[:-1]) * (60 if text.endswith("m") else 1)
    if not 60 <= seconds <= 3600:
        raise ValueError(_HORIZON_MESSAGE)
    return float(seconds)


def _horizon(text: str) -> str:
    horizon_seconds(text)
    return text


Horizon = Annotated[
    str,
    Field(
        max_length=8,
        json_schema_extra=rules(
            (
                f"self.matches('{_HORIZON}') && duration(self) >= duration('1m') && duration(self) <= duration('1h')",
                _HORIZON_MESSAGE,
            )
        ),
    ),
    AfterValidator(_horizon),
]
"""Seconds or minutes, kept as it was written."""


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
    horizon: Annotated[
        Horizon | None,
        Field(
            description="How far ahead turbospec_expected_pods_at_full_load and the other expected series look, for "
            "example 5m: the time from asking for a pod until it serves. They then say what became of the load at this "
            "time of day on the days before, where Prometheus holds a day of it (condition HistoryKnown). Default: the "
            "slope of the last minutes, as far ahead as pods have taken to start.",
        ),
    ] = None
    startup_variant: Annotated[
        Literal["Speculative", "Plain", "Auto"],
        Field(
            description="How new pods start. Speculative: with --speculative-config, where the policy names a method. "
            "Plain: without it, faster than K = 0 and with more KV cache, but with no K to choose until the pod ends. "
            "Auto: whichever has saved replicas for half of a pod's mean life. Neither Plain nor Auto acts where the "
            "pod's own template decides, nor with --kv-transfer-config: condition StartupVariantDecided then says so.",
        ),
    ] = "Speculative"


class StartupVariantStatus(WireModel):
    """How new pods of one scale target start. The webhook goes by it, also while the operator is down."""

    scale_target: Annotated[
        str, Field(max_length=320, description="What scales the pods, for example deployment/chat.")
    ]
    selector: Annotated[
        str | None,
        Field(max_length=1024, description="Its label selector, where an autoscaler names one. Default: by owner."),
    ] = None
    variant: Annotated[Literal["Speculative", "Plain"], Field(description="How a new pod starts now.")]
    since: Annotated[str | None, Field(description="Since when.", json_schema_extra={"format": "date-time"})] = None
    reason: Annotated[str, Field(max_length=64, description="Why, in one word.")]
    message: Annotated[str, Field(max_length=512, description="Why, in one sentence.")] = ""
    speculative_pods: Annotated[int, Field(description="Pods that were started with the drafter.")] = 0
    plain_pods: Annotated[int, Field(description="Pods that were started without it.")] = 0
    scout_since: Annotated[
        str | None,
        Field(
            description="Set where the next pod starts with the drafter all the same, to learn acceptance anew.",
            json_schema_extra={"format": "date-time"},
        ),
    ] = None
