"""The SpeculationPolicy custom resource (turbospec.io/v1alpha1)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from turbospec.wire.autoscaling import AutoscalingSpec, StartupVariantStatus
from turbospec.wire.base import LenientModel, WireModel
from turbospec.wire.cel import rules
from turbospec.wire.conditions import Condition
from turbospec.wire.duration import Duration
from turbospec.wire.objective import ObjectiveDocument
from turbospec.wire.profiling_job import ProfilingJobSpec

LADDER = [0, 1, 3, 7]
"""Default K: widths 1, 2, 4, 8 leave no gap between captured CUDA graphs on vLLM's model runner V2."""


class LabelSelector(WireModel):
    """Equality selector; all labels must match."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63)]],
        Field(
            min_length=1,
            max_length=16,
            description="Labels that a pod must carry to be governed by this policy.",
            json_schema_extra=rules(
                (
                    "self.all(key, self[key].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
                    "selector.matchLabels holds a value that no label can have: use letters, digits, '-', '_' and '.', "
                    "beginning and ending with a letter or digit",
                ),
            ),
        ),
    ]


class EngineSpec(WireModel):
    """Where vLLM is in the pod, and which of the two loops decides K."""

    container: Annotated[
        str | None,
        Field(
            max_length=63,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            description="Container that runs vLLM. Default: the one whose command serves vLLM.",
        ),
    ] = None
    port: Annotated[int, Field(ge=1, le=65535, description="Port of vLLM's OpenAI server in the pod.")] = 8000
    loop: Annotated[
        Literal["Local", "Table"],
        Field(
            description="Local: the engine decides K on every step. Table: the engine runs exactly the table that the "
            "operator computes and pushes, for audits and comparisons.",
        ),
    ] = "Local"


class SpeculationSpec(WireModel):
    """What engines are started with where the pod does not say it, and the K that may be used."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(has(self.method) && self.method in ['draft_model', 'eagle', 'eagle3']) || has(self.model)",
                "speculation.method draft_model, eagle or eagle3 needs speculation.model: "
                "name the drafter, or choose ngram or mtp",
            ),
            (
                "!has(self.model) || (has(self.method) && self.method != 'ngram')",
                "speculation.model is used only with speculation.method draft_model, eagle, eagle3 or mtp: "
                "set the method or remove the model",
            ),
            (
                "!(has(self.promptLookupMin) || has(self.promptLookupMax)) "
                "|| (has(self.method) && self.method == 'ngram')",
                "speculation.promptLookupMin and promptLookupMax are used only with speculation.method ngram: "
                "set the method to ngram or remove them",
            ),
            (
                "!(has(self.promptLookupMin) && has(self.promptLookupMax)) "
                "|| self.promptLookupMin <= self.promptLookupMax",
                "speculation.promptLookupMin must not exceed promptLookupMax: lower the one or raise the other",
            ),
        )
    )

    method: Annotated[
        Literal["ngram", "draft_model", "eagle", "eagle3", "mtp"] | None,
        Field(description="Speculative method added at start-up to pods without --speculative-config."),
    ] = None
    model: Annotated[
        str | None, Field(max_length=512, description="Draft model, for draft_model, eagle and eagle3.")
    ] = None
    prompt_lookup_min: Annotated[int | None, Field(ge=1, le=64, description="ngram: shortest match to look up.")] = None
    prompt_lookup_max: Annotated[int | None, Field(ge=1, le=64, description="ngram: longest match to look up.")] = None
    draft_tokens: Annotated[
        list[Annotated[int, Field(ge=0, le=64)]],
        Field(
            min_length=1,
            max_length=16,
            description="Draft lengths (num_speculative_tokens) that may be used, ascending. One value pins K.",
            # Atomic, not a set: two appliers must not merge their K, a pinned K would come unpinned.
            json_schema_extra={
                "x-kubernetes-list-type": "atomic",
                **rules(
                    (
                        "self.isSorted() && self.all(k, self.exists_one(other, other == k))",
                        "speculation.draftTokens must ascend without repeats: write [0, 1, 3, 7], not [7, 3, 3, 0]",
                    ),
                ),
            },
        ),
    ] = LADDER


class ProfilingSpec(WireModel):
    """Where the latency model comes from."""

    source: Annotated[
        Literal["Job", "Serving", "Existing"],
        Field(
            description="Job: measure every new kind of hardware once; where the operator may not create Jobs, as "
            "Serving. Serving: let profiles grow from what engines measure while they serve, where no accelerator is "
            "to spare. Existing: use the SpeculationProfiles there are."
        ),
    ] = "Job"
    max_age: Annotated[
        Duration | None,
        Field(
            description="Age at which a profile is measured again while it stays in use, for example 30d; counted from "
            "its provenance.measuredAt, else from its creation. Default: never. With source Existing it has no effect."
        ),
    ] = None
    capacity: Annotated[
        Literal["ExistingNodes", "MayProvision"],
        Field(
            description="ExistingNodes: a Job is created only for a named node that has room for it, so that no "
            "autoscaler adds one. MayProvision: a node of the same instance type may be added for it.",
        ),
    ] = "ExistingNodes"
    max_concurrent_nodes: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="How many nodes may measure at the same time, over all namespaces, for a Job of this policy to "
            "start.",
        ),
    ] = 1
    job: Annotated[
        ProfilingJobSpec | None,
        Field(description="What differs in the Job's pod from the serving pod that it copies."),
    ] = None


class SpeculationPolicySpec(WireModel):
    """What the user wants."""

    selector: Annotated[LabelSelector, Field(description="The vLLM pods, by their labels, in the policy's namespace.")]
    mode: Annotated[
        Literal["Enforce", "Advise", "Paused"],
        Field(
            description="Enforce: push control documents. Advise: push nothing, and say in status.advice what "
            "TurboSpec would have gained. Paused: engines keep what they have.",
        ),
    ] = "Enforce"
    engine: EngineSpec = EngineSpec()
    speculation: SpeculationSpec = SpeculationSpec()
    objective: Annotated[
        ObjectiveDocument | None,
        Field(
            description="Latency ceilings that goodput is maximised under, both optional. Where no K is predicted to "
            "meet them, the one that misses them least is used and condition ObjectiveAttainable is False."
        ),
    ] = None
    profiling: ProfilingSpec = ProfilingSpec()
    autoscaling: AutoscalingSpec = AutoscalingSpec()


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
