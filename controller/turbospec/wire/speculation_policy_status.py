"""What the operator writes into a SpeculationPolicy's status (turbospec.io/v1alpha1)."""

from typing import Annotated, Literal

from pydantic import Field

from turbospec.wire.autoscaling import StartupVariantStatus
from turbospec.wire.base import LenientModel, WireModel
from turbospec.wire.conditions import Condition


class PredictionStatus(WireModel):
    """What an engine expects of one K."""

    draft_tokens: Annotated[int, Field(description="K.")]
    tokens_per_second: Annotated[int, Field(description="Predicted goodput at the engine's last batch.")]


class DecisionStatus(WireModel):
    """Why an engine runs its K, in its own words (docs/engine.md)."""

    draft_tokens: Annotated[int, Field(description="K that was decided.")]
    reason: Annotated[str, Field(max_length=64, description="Why, in one word.")]
    bounding: Annotated[
        str | None, Field(max_length=64, description="What keeps a longer draft, or one of higher goodput, from use.")
    ] = None
    predictions: Annotated[
        list[PredictionStatus], Field(default_factory=list, max_length=16, description="Every K that was weighed.")
    ]


class ScheduleRange(WireModel):
    """K for a range of batches."""

    from_batch: Annotated[int, Field(description="First batch of the range.")]
    to_batch: Annotated[int, Field(description="Last batch of the range.")]
    draft_tokens: Annotated[int, Field(description="K.")]


class EngineStatus(WireModel):
    """One engine, as last observed."""

    pod: Annotated[str, Field(max_length=253, description="Pod that the engine runs in.")]
    node: Annotated[str | None, Field(max_length=253, description="Node of the pod.")] = None
    controlled: Annotated[bool, Field(description="Whether the engine runs the document that this policy wants.")]
    draft_tokens: Annotated[int | None, Field(description="K of the last step.")] = None
    batch: Annotated[int | None, Field(description="Requests running.")] = None
    acceptance_percent: Annotated[int | None, Field(description="Acceptance rate of the first draft position.")] = None
    profile: Annotated[
        str | None,
        Field(
            max_length=300,
            description="SpeculationProfile in use, or clusterspeculationprofile/NAME where it is the cluster's.",
        ),
    ] = None
    reason: Annotated[str, Field(max_length=128, description="One word: why it is in this state.")]
    message: Annotated[str, Field(max_length=1024, description="What to know or do.")] = ""
    decision: Annotated[DecisionStatus | None, Field(description="Why the engine runs its K.")] = None
    hardware: Annotated[str | None, Field(max_length=253, description="What it runs on.")] = None
    tokens_per_second: Annotated[
        int | None, Field(description="Tokens it delivered per second, over the last ten seconds or so.")
    ] = None
    schedule: Annotated[
        list[ScheduleRange],
        Field(
            default_factory=list,
            max_length=32,
            description="K by batch as it would be decided now; the first 32 ranges.",
        ),
    ]


class ScaleTargetStatus(WireModel):
    """What speculation is worth to the pods of one scale target that have one profile key."""

    target: Annotated[str, Field(max_length=317, description="Scale target, for example deployment/chat.")]
    profile_key: Annotated[str, Field(max_length=16, description="Profile key of its engines.")]
    reason: Annotated[str, Field(max_length=64, description="One word, of condition Worthwhile (docs/autoscaling.md).")]
    recommended: Annotated[
        Literal["Speculative", "Plain", "Either"] | None,
        Field(
            description="How these pods had better be started: with the drafter, without it, or either way where what "
            "is known does not tell the two apart. Absent where nothing is known."
        ),
    ] = None
    replicas_saved_percent_at_least: Annotated[
        int | None,
        Field(
            description="Percent of a plain fleet's replicas that speculation saves, at least; below 0 it takes more."
        ),
    ] = None
    replicas_saved_percent_at_most: Annotated[int | None, Field(description="The same, at most.")] = None


class InjectionStop(WireModel):
    """Pods that start without TurboSpec, because those before them failed."""

    template: Annotated[
        str, Field(max_length=63, description="Digest that the webhook gives to pods that start alike.")
    ]
    message: Annotated[str, Field(max_length=1024, description="What failed, and how to have them injected again.")]


class SpeculationPolicyStatus(LenientModel):
    """What the operator has seen and done. Written by the operator only."""

    observed_generation: Annotated[
        int | None, Field(description="Generation of the spec that this status was computed from.")
    ] = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            default_factory=list,
            description="Profiled, Injected, Controlled, Ready and, where there is an objective, ObjectiveAttainable, "
            "where engines could compare, ProfileAccurate, where they have a profile Worthwhile, in mode Advise "
            "Advised, each with a reason and what to do.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ]
    pods: Annotated[int | None, Field(description="vLLM pods that this policy governs.")] = None
    controlled: Annotated[
        int | None, Field(description="Pods whose engine runs the document that this policy wants.")
    ] = None
    profile: Annotated[
        str | None, Field(max_length=300, description="SpeculationProfile in use, or how many where pods differ.")
    ] = None
    draft_tokens: Annotated[
        str | None, Field(max_length=32, description="K in use over the engines: one value or a range like 0-3.")
    ] = None
    engines: Annotated[
        list[EngineStatus], Field(default_factory=list, max_length=64, description="The first 64 engines.")
    ]
    scale_targets: Annotated[
        list[ScaleTargetStatus],
        Field(
            default_factory=list,
            max_length=16,
            description="What speculation is worth by scale target and profile key, in replicas that the same requests "
            "take; the first 16.",
        ),
    ]
    advice: Annotated[
        str | None,
        Field(
            max_length=256,
            description="Mode Advise: what TurboSpec would have gained over up to a week, tokens per second of running "
            "requests, as an interval like +7% to +20%, or unknown: needs and what it takes to know.",
        ),
    ] = None
    injection_stopped: Annotated[
        list[InjectionStop],
        Field(
            default_factory=list,
            max_length=16,
            description="Pods that are injected no more, since injected ones failed before they were Ready.",
        ),
    ]
    startup_variants: Annotated[
        list[StartupVariantStatus],
        Field(
            default_factory=list,
            max_length=16,
            description="How new pods start, by scale target, where spec.autoscaling.startupVariant is Plain or Auto.",
        ),
    ]
