"""What a SpeculationPolicy asks for (turbospec.io/v1alpha1); what it is told is in ``speculation_policy_status``."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from turbospec.wire.autoscaling import AutoscalingSpec
from turbospec.wire.base import WireModel
from turbospec.wire.cel import rules
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
            "meet them, the one that delivers most is used and condition ObjectiveAttainable is False."
        ),
    ] = None
    profiling: ProfilingSpec = ProfilingSpec()
    autoscaling: AutoscalingSpec = AutoscalingSpec()
