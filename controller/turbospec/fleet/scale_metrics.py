"""Whether what an autoscaler reads is moved by speculation, and what to read instead."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from turbospec.fleet.autoscalers import AutoscalerView, ForeignAutoscaler, ScaleMetric
from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.foreign import ADVICE
from turbospec.fleet.scaling import ScaleTarget

CONDITION = "ScalingCompatible"
DOCUMENT = "docs/autoscaling.md"
NAMED_METRICS = 1

_TOKENS = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:-]*")

_LEAVE_SOONER = "it falls when speculation works, for requests leave sooner, so pods go because it works"
_HELD = "drafts hold KV cache and faster requests hold it for less time, so it moves with K at equal load"
_WVA = "WVA makes it of KV cache usage and queues, and drafts and faster requests move those at equal load"

DISTORTED = (
    ("requests_running", _LEAVE_SOONER),
    ("running_requests", _LEAVE_SOONER),
    ("concurrency", _LEAVE_SOONER),
    (
        "inter_token_latency",
        "it has one sample per step and not per token: it rises with K while users wait less, so pods come because it "
        "works",
    ),
    ("cache_usage", _HELD),
    ("cache_utilization", _HELD),
    ("wva_desired", _WVA),
    ("inferno_desired", _WVA),
    ("generation_tokens", "it rises with acceptance at equal load, so easy text counts as high load"),
    ("generation_throughput", "it rises with acceptance at equal load, so easy text counts as high load"),
    ("tokens_per_second", "it rises with acceptance at equal load, so easy text counts as high load"),
    ("iteration_tokens", "drafts count as tokens in it, so it rises with K at equal load"),
)
"""Parts of metric names, as vLLM, llm-d and Knative spell them or adapters make of them, and why speculation distorts
them."""

NEUTRAL = (
    "turbospec_expected_load_ratio",
    "turbospec_expected_pods_at_full_load",
    "turbospec_expected_demand_tokens_per_second",
    "turbospec_offered_load_ratio",
    "turbospec_demand_tokens_per_second",
    "turbospec_pod_capacity_tokens_per_second",
    "requests_waiting",
    "queue_size",
    "queue_length",
    "http_requests",
    "requests_total",
    "request_rate",
    "requests_per_second",
)
"""Parts of names of what K does not move: our signals, and requests that come or that nothing has begun."""


@dataclass(frozen=True, slots=True)
class MetricVerdict:
    """``compatible`` is None where nobody can tell from the name; ``why`` says what distorts it where that is known."""

    metric: ScaleMetric
    compatible: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Preserved:
    """Whether ``spec.autoscaling.preserve`` keeps a target's metric from buying replicas, and what to say of it."""

    holds: bool
    message: str


NOT_WANTED: Mapping[tuple[str, str], Preserved] = {}


def judge_metric(metric: ScaleMetric) -> MetricVerdict:
    """By the names in its query where that can be seen, else by its own. One distorted name distorts a query."""
    names = named_in(metric)
    if any(name.startswith("turbospec_") for name in names):
        # Ours divide what comes by what can be done; whatever else is in the query was put there knowingly.
        return MetricVerdict(metric, any(part in name for name in names for part in NEUTRAL) or None)
    for part, why in DISTORTED:
        if any(part in name for name in names):
            return MetricVerdict(metric, False, why)
    known = metric.source in ("Pods", "Object", "External")
    return MetricVerdict(metric, True if known and any(part in name for name in names for part in NEUTRAL) else None)


def named_in(metric: ScaleMetric) -> list[str]:
    """The names that a metric goes by, spelled alike: those in its query where that can be seen, else its own."""
    return [_plain(word) for word in (_TOKENS.findall(metric.query) or [metric.name])]


def scaling_compatible(
    targets: Iterable[ScaleTarget], preserved: Mapping[tuple[str, str], Preserved] = NOT_WANTED
) -> ConditionValue | None:
    """Condition ``ScalingCompatible`` over a policy's targets, the worst first; None where nobody is seen to scale.

    ``preserved`` says of (namespace, target) how ``spec.autoscaling.preserve`` stands, where the policy wants it.
    """
    found = [value for t in targets if (value := _of_target(t, preserved.get((t.namespace, t.name)))) is not None]
    order = {"False": 0, "Unknown": 1, "True": 2}
    return min(found, key=lambda value: order[value.status], default=None)


def _of_target(target: ScaleTarget, preserved: Preserved | None) -> ConditionValue | None:
    if not target.autoscalers:
        return None if target.foreign is None else _of_foreign(target, target.foreign)
    if len(target.autoscalers) > 1:
        names = ", ".join(hpa.name for hpa in target.autoscalers)
        message = (
            f"{names} decide on the replicas of {target.name} against each other. Delete all but one; an HPA may hold "
            "several metrics."
        )
        return ConditionValue(CONDITION, "Unknown", "SeveralAutoscalers", message)
    return _of_autoscaler(target.autoscalers[0], preserved)


def _of_foreign(target: ScaleTarget, foreign: ForeignAutoscaler) -> ConditionValue:
    """By its metric where its resource says it; else it is named, with what to know of its kind."""
    who = f"{foreign.system} ({foreign.name})" if foreign.name else foreign.system
    advice = f"{ADVICE.get(foreign.system, '')} See {DOCUMENT}."
    verdict = judge_metric(ScaleMetric("Pods", foreign.metric, "AverageValue", 0.0))
    if verdict.compatible is False:
        message = f"{who} scales {target.name} on {foreign.metric}: {verdict.why}. {advice}"
        return ConditionValue(CONDITION, "False", "DistortedMetric", message)
    if verdict.compatible:
        message = f"{who} scales {target.name} on {foreign.metric}, which K does not move."
        return ConditionValue(CONDITION, "True", "SpeculationNeutral", message)
    message = f"{who} scales {target.name}; what it reads cannot be seen from here. {advice}"
    return ConditionValue(CONDITION, "Unknown", "AutoscalerUnrecognised", message)


def _of_autoscaler(hpa: AutoscalerView, preserved: Preserved | None) -> ConditionValue:
    verdicts = [judge_metric(metric) for metric in hpa.metrics]
    distorted = [verdict for verdict in verdicts if verdict.compatible is False]
    unknown = [verdict for verdict in verdicts if verdict.compatible is None]
    who = f"ScaledObject {hpa.scaled_object}" if hpa.scaled_object is not None else f"HPA {hpa.name}"
    if distorted and preserved is not None and preserved.holds:
        message = (
            f"{who} scales {hpa.target} on what speculation distorts, {_names(distorted)}. spec.autoscaling.preserve "
            f"keeps it from asking for more pods than at K = 0: {preserved.message}. See {DOCUMENT}."
        )
        return ConditionValue(CONDITION, "True", "Preserved", message)
    if distorted:
        unkept = "" if preserved is None else f" {preserved.message}"
        return ConditionValue(CONDITION, "False", "DistortedMetric", _distorted(hpa, who, distorted, unkept))
    if unknown or not verdicts:
        names = _names(unknown)
        message = (
            f"{who} scales {hpa.target} on {names}: whether K moves that cannot be told. What K does not move is "
            f"turbospec_expected_pods_at_full_load, with 0.8 for each pod. See {DOCUMENT}."
        )
        return ConditionValue(CONDITION, "Unknown", "MetricNotRecognised", message)
    message = f"{who} scales {hpa.target} on {_names(verdicts)}, which K does not move."
    return ConditionValue(CONDITION, "True", "SpeculationNeutral", message)


def _distorted(hpa: AutoscalerView, who: str, verdicts: Sequence[MetricVerdict], unkept: str) -> str:
    """Short, so that the YAML in it is never cut: conditions take 1,024 characters."""
    worst, *others = verdicts
    reason = f"{_name(worst.metric)}: {worst.why}." + (f" So is {_names(others)}." if others else "")
    replacement = keda_trigger(hpa) if hpa.scaled_object is not None else hpa_metric(hpa)
    what = f"{who} scales {hpa.target} on what speculation distorts. {reason}{unkept}"
    return f"{what} Replace it ({DOCUMENT}):\n{replacement}"


def hpa_metric(hpa: AutoscalerView) -> str:
    """An entry of ``spec.metrics`` for the HorizontalPodAutoscaler, as YAML."""
    kind, _, name = hpa.target.partition("/")
    return (
        "- type: External\n"
        "  external:\n"
        "    metric:\n"
        "      name: turbospec_expected_pods_at_full_load\n"
        f"      selector: {{matchLabels: {{scale_target_kind: {kind}, scale_target: {name}}}}}\n"
        "    target: {type: AverageValue, averageValue: 800m}"
    )


def keda_trigger(hpa: AutoscalerView) -> str:
    """An entry of ``spec.triggers`` for the ScaledObject, as YAML."""
    kind, _, name = hpa.target.partition("/")
    labels = f'namespace="{hpa.namespace}",scale_target_kind="{kind}",scale_target="{name}"'
    return (
        "- type: prometheus\n"
        "  metricType: AverageValue\n"
        "  metadata:\n"
        "    serverAddress: http://prometheus.monitoring:9090\n"
        f"    query: sum(turbospec_expected_pods_at_full_load{{{labels}}})\n"
        "    threshold: '0.8'\n"
        "    ignoreNullValues: 'false'"
    )


def _names(verdicts: Sequence[MetricVerdict]) -> str:
    shown = ", ".join(_name(verdict.metric) for verdict in verdicts[:NAMED_METRICS])
    return f"{shown} and more" if len(verdicts) > NAMED_METRICS else shown or "no metric"


def _name(metric: ScaleMetric) -> str:
    """What a person looks for: the query where KEDA has made up a name."""
    return (metric.query or metric.name)[:64]


def _plain(name: str) -> str:
    """Adapters write ``vllm_num_requests_running`` or ``vllm-...`` for vLLM's ``vllm:num_requests_running``."""
    return name.lower().replace(":", "_").replace("-", "_")
