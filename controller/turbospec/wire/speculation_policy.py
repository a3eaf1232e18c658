"""The SpeculationPolicy custom resource (turbospec.io/v1alpha1)."""

from typing import Annotated, Literal

from pydantic import Field

from turbospec.wire.base import LenientModel, WireModel
from turbospec.wire.conditions import Condition

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
        ),
    ]


class EngineSpec(WireModel):
    """Where vLLM is in the pod, and which of the two loops decides K."""

    container: Annotated[
        str | None,
        Field(max_length=63, description="Container that runs vLLM. Default: the one whose command serves vLLM."),
    ] = None
    port: Annotated[int, Field(ge=1, le=65535, description="Port of vLLM's OpenAI server in the pod.")] = 8000
    loop: Annotated[
        Literal["Local", "Table"],
        Field(
            description="Local: the engine decides K on every step. Table: the engine runs exactly the table that the operator "
            "computes and pushes, for audits and comparisons.",
        ),
    ] = "Local"


class SpeculationSpec(WireModel):
    """What engines are started with where the pod does not say it, and the K that may be used."""

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
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = LADDER


class ProfilingSpec(WireModel):
    """Where the latency model comes from."""

    source: Annotated[
        Literal["Job", "Existing"],
        Field(description="Job: measure every new kind of hardware once. Existing: use SpeculationProfiles that are there."),
    ] = "Job"


class SpeculationPolicySpec(WireModel):
    """What the user wants."""

    selector: LabelSelector
    mode: Annotated[
        Literal["Enforce", "Advise", "Paused"],
        Field(
            description="Enforce: push control documents. Advise: decide and report, push nothing. Paused: engines keep what they have."
        ),
    ] = "Enforce"
    engine: EngineSpec = EngineSpec()
    speculation: SpeculationSpec = SpeculationSpec()
    profiling: ProfilingSpec = ProfilingSpec()


class EngineStatus(WireModel):
    """One engine, as last observed."""

    pod: Annotated[str, Field(max_length=253)]
    node: Annotated[str | None, Field(max_length=253)] = None
    controlled: bool
    draft_tokens: Annotated[int | None, Field(description="K of the last step.")] = None
    batch: Annotated[int | None, Field(description="Requests running.")] = None
    acceptance_percent: Annotated[int | None, Field(description="Acceptance rate of the first draft position.")] = None
    profile: Annotated[str | None, Field(max_length=253)] = None
    reason: Annotated[str, Field(max_length=128, description="One word: why it is in this state.")]
    message: Annotated[str, Field(max_length=1024)] = ""


class SpeculationPolicyStatus(LenientModel):
    """What the operator has seen and done. Written by the operator only."""

    observed_generation: int | None = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    pods: int | None = None
    controlled: int | None = None
    profile: Annotated[str | None, Field(max_length=253)] = None
    draft_tokens: Annotated[
        str | None, Field(max_length=32, description="K in use over the engines: one value or a range like 0-3.")
    ] = None
    engines: Annotated[list[EngineStatus], Field(max_length=64)] = []
