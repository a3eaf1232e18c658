"""SCENARIO.yaml of ``turbospec simulate-fleet``: the only place where its bytes become types."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from turbospec.simulation.files import (
    Count,
    EngineFile,
    NotNegative,
    PhaseSpec,
    Positive,
    ScenarioError,
    TextSpec,
    load,
    parse,
    read_yaml,
)
from turbospec.simulation.fleet.hpa import DOWN, UP, Bounds, Policy, Rules
from turbospec.wire.base import WireModel

__all__ = ["FleetScenario", "FleetScenarioFile", "MetricName", "ScenarioError", "load_scenario"]


class MetricName(StrEnum):
    """What the HorizontalPodAutoscaler reads."""

    RUNNING_REQUESTS = "runningRequests"
    """Mean of vllm:num_requests_running, per pod."""
    INTER_TOKEN_LATENCY = "interTokenLatency"  # noqa: S105 - these tokens are words
    """Mean of vllm:inter_token_latency_seconds over a minute, in milliseconds."""
    KV_CACHE_USAGE = "kvCacheUsage"
    """Mean of vllm:kv_cache_usage_perc, 0 to 1, per pod."""
    TOKEN_BACKLOG = "tokenBacklog"  # noqa: S105 - these too
    """Tokens still to generate per replica; beside it tokens still to prefill, at one full step of them."""
    OFFERED_LOAD_RATIO = "offeredLoadRatio"
    """turbospec_offered_load_ratio."""
    EXPECTED_PODS = "expectedPods"
    """turbospec_expected_pods_at_full_load."""
    WANTED_PODS = "wantedPods"
    """The same over the target, rounded up: whole pods, one for each replica."""


class StartupSpec(WireModel):
    """Seconds from a pod's creation to Ready."""

    pending_seconds: NotNegative = 20.0
    """Until a node has it."""
    starting_seconds: NotNegative = 120.0
    """Image, weights; nothing of ours answers yet."""
    warming_seconds: NotNegative = 40.0
    """Compilation and graphs; the control server answers, the pod is not Ready."""

    @property
    def seconds(self) -> float:
        """From creation to Ready."""
        return self.pending_seconds + self.starting_seconds + self.warming_seconds


class CeilingSpec(WireModel):
    """A ceiling, as SpeculationPolicy has it."""

    milliseconds: Annotated[int, Field(ge=1, le=3_600_000)]
    percentile: Annotated[int, Field(ge=1, le=99)] = 90


class CeilingsSpec(WireModel):
    """What a request must keep to; one over either is a miss. The percentile is for the engine loop's planning."""

    time_per_output_token: CeilingSpec | None = None
    time_to_first_token: CeilingSpec | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.time_per_output_token is None and self.time_to_first_token is None:
            raise ValueError("give timePerOutputToken, timeToFirstToken or both: without a ceiling nothing is a miss")
        return self


class ScalingPolicySpec(WireModel):
    """One policy of ``behavior``, spelled as Kubernetes does."""

    type: Literal["Pods", "Percent"]
    value: Count
    period_seconds: Annotated[int, Field(ge=1, le=1800)]


class ScalingRulesSpec(WireModel):
    """One direction of ``behavior``; what is left out is Kubernetes' default."""

    stabilization_window_seconds: Annotated[int | None, Field(ge=0, le=3600)] = None
    policies: Annotated[list[ScalingPolicySpec] | None, Field(min_length=1)] = None
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"

    def rules(self, default: Rules) -> Rules:
        """As the autoscaler takes them."""
        window = self.stabilization_window_seconds
        given = (
            None if self.policies is None else tuple(Policy(p.type, p.value, p.period_seconds) for p in self.policies)
        )
        return Rules(
            default.stabilization_seconds if window is None else float(window),
            default.policies if given is None else given,
            self.select_policy,
        )


class BehaviorSpec(WireModel):
    """``spec.behavior`` of the HPA."""

    scale_up: ScalingRulesSpec = ScalingRulesSpec()
    scale_down: ScalingRulesSpec = ScalingRulesSpec()


class AutoscalerSpec(WireModel):
    """The HPA. ``target`` in the unit of the metric (see MetricName)."""

    min_replicas: Count = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 30
    initial_replicas: Count
    metric: MetricName = MetricName.RUNNING_REQUESTS
    target: Positive
    behavior: BehaviorSpec = BehaviorSpec()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.min_replicas <= self.initial_replicas <= self.max_replicas:
            raise ValueError(
                f"initialReplicas {self.initial_replicas} is not within minReplicas {self.min_replicas} "
                f"and maxReplicas {self.max_replicas}"
            )
        return self

    @property
    def bounds(self) -> Bounds:
        """As the autoscaler takes them."""
        behavior = self.behavior
        return Bounds(
            self.min_replicas, self.max_replicas, behavior.scale_up.rules(UP), behavior.scale_down.rules(DOWN)
        )


class LoadSpec(TextSpec):
    """A part of the day: arrivals, and what their text is like (as in WORKLOAD.yaml).

    ``requests_per_second``: rates at evenly spaced moments from the part's first second to its last, straight lines
    between them. Or a ``trace``, each of its requests ``copies`` times, moved by up to half a minute.
    """

    ONE_FOR_ALL: ClassVar[frozenset[str]] = TextSpec.ONE_FOR_ALL | {"requestsPerSecond"}

    seconds: Positive | None = None
    requests_per_second: Annotated[list[NotNegative] | None, Field(min_length=1)] = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    length_spread: Annotated[float, Field(ge=0, lt=1)] = 0.0
    trace: str | None = None
    speed: Positive | None = None
    copies: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.trace is None) == (self.requests_per_second is None):
            raise ValueError("give exactly one of requestsPerSecond and trace")
        if self.trace is None:
            if None in (self.seconds, self.prompt_tokens, self.output_tokens):
                raise ValueError("requestsPerSecond needs seconds, promptTokens and outputTokens")
            if self.speed is not None or self.copies is not None:
                raise ValueError("speed and copies go with a trace")
        elif self.prompt_tokens is not None or self.output_tokens is not None:
            raise ValueError("promptTokens and outputTokens come from the trace: leave them out")
        return self

    @property
    def text(self) -> PhaseSpec:
        """The same text as the one-engine simulator knows it."""
        return PhaseSpec(
            seconds=1.0,
            clients=1,
            prompt_tokens=1,
            output_tokens=1,
            acceptance=self.acceptance,
            acceptance_spread=self.acceptance_spread,
            draft_yield=self.draft_yield,
        )


class FleetScenarioFile(WireModel):
    """SCENARIO.yaml; ``engine`` is an ENGINE.yaml, inline or the name of one beside the scenario."""

    engine: EngineFile
    startup: StartupSpec = StartupSpec()
    objective: CeilingsSpec
    autoscaler: AutoscalerSpec
    load_balancer: Literal["LeastRequests", "RoundRobin"] = "LeastRequests"
    termination_grace_seconds: NotNegative = 30.0
    warm_up_seconds: NotNegative = 300.0
    """Of the first rate, before the day begins; nothing of it is counted."""
    load: Annotated[list[LoadSpec], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class FleetScenario:
    """A scenario, and the file that errors name and traces lie beside."""

    spec: FleetScenarioFile
    path: Path


def load_scenario(path: Path) -> FleetScenario:
    """The scenario of a YAML file. ScenarioError, with file and field, where it cannot be used."""
    data = read_yaml(path)
    if isinstance(data, Mapping) and isinstance(data.get("engine"), str):
        engine = load(path.parent / data["engine"], EngineFile)
        data = {**data, "engine": engine.model_dump(by_alias=True, exclude_none=True)}
    return FleetScenario(parse(data, FleetScenarioFile, str(path)), path)
