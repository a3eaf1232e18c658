"""An autoscaler that reads what speculation moves is told so, with the metric to read instead."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.fleet.builders import KEY, NOW, conditions, pod, profile, snapshot
from tests.fleet.scaling_builders import OURS, hpa, metric
from turbospec.fleet.autoscalers import ForeignAutoscaler, ScaleMetric
from turbospec.fleet.conditions import MAX_MESSAGE
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.scale_metrics import hpa_metric, judge_metric, keda_trigger

RUNNING = metric(4.0, name="vllm:num_requests_running")


def condition(**changes: Any) -> ConditionValue | None:
    shown = snapshot(profiles=(profile(),), **changes)
    return conditions(decide(shown, FleetMemory())[0]).get("ScalingCompatible")


@pytest.mark.parametrize(
    ("name", "compatible"),
    [
        ("vllm:num_requests_running", False),
        ("vllm_num_requests_running", False),
        ("vllm-num-requests-running", False),
        ("vllm:inter_token_latency_seconds", False),
        ("vllm:kv_cache_usage_perc", False),
        ("vllm:gpu_cache_usage_perc", False),
        ("vllm:generation_tokens_total", False),
        ("vllm:avg_generation_throughput_toks_per_s", False),
        ("tokens_per_second", False),
        ("inference_objective_running_requests", False),
        ("inference_pool_average_kv_cache_utilization", False),
        ("wva_desired_replicas", False),
        ("wva_desired_ratio", False),
        ("inferno_desired_replicas", False),
        ("inference_extension_flow_control_queue_size", True),
        ("turbospec_offered_load_ratio", True),
        ("turbospec_expected_load_ratio", True),
        ("turbospec_expected_demand_tokens_per_second", True),
        ("turbospec_demand_tokens_per_second", True),
        ("vllm:num_requests_waiting", True),
        ("istio_requests_total", True),
        ("http_requests", True),
        ("my_metric", None),
        ("turbospec_engine_goodput_tokens_per_second", None),
    ],
)
def test_metrics_are_judged_by_their_names(name: str, compatible: bool | None) -> None:
    assert judge_metric(metric(1.0, name=name)).compatible is compatible


@pytest.mark.parametrize(
    ("query", "compatible"),
    [
        ("sum(rate(vllm:generation_tokens_total[1m]))", False),
        ("sum(vllm:num_requests_waiting) + sum(vllm:num_requests_running)", False),
        ('max(turbospec_offered_load_ratio{namespace="team"})', True),
        ("sum(turbospec_demand_tokens_per_second) / max(turbospec_pod_capacity_tokens_per_second)", True),
        ("sum(rate(nginx_http_requests_total[1m]))", True),
        ("sum(something)", None),
    ],
)
def test_kedas_metrics_are_judged_by_their_queries(query: str, compatible: bool | None) -> None:
    """Their own names say nothing: ``s0-prometheus``."""
    assert judge_metric(metric(1.0, name="s0-prometheus", query=query)).compatible is compatible


def test_cpu_is_neither() -> None:
    assert judge_metric(ScaleMetric("Resource", "cpu", "Utilization", 80.0, 50.0)).compatible is None


def test_a_distorted_metric_is_named_with_the_reason_and_yaml_to_paste() -> None:
    found = condition(autoscalers=(hpa(metrics=(RUNNING,)),))
    assert found is not None
    assert (found.status, found.reason) == ("False", "DistortedMetric")
    assert "HPA chat scales deployment/chat" in found.message
    assert "vllm:num_requests_running: it falls when speculation works" in found.message
    (entry,) = yaml.safe_load(found.message.partition(":\n")[2])
    assert entry["external"]["metric"]["name"] == "turbospec_expected_load_ratio"
    assert entry["external"]["target"] == {"type": "Value", "value": "800m"}
    assert entry["external"]["metric"]["selector"]["matchLabels"] == {
        "scale_target_kind": "deployment",
        "scale_target": "chat",
    }


def test_a_scaled_object_gets_a_trigger_of_its_own() -> None:
    read = metric(4.0, name="s0-prometheus", query="sum(vllm:num_requests_running)")
    found = condition(autoscalers=(hpa(metrics=(read,), scaled_object="chat-scaler"),))
    assert found is not None
    assert "ScaledObject chat-scaler" in found.message
    assert "sum(vllm:num_requests_running)" in found.message
    (trigger,) = yaml.safe_load(found.message.partition(":\n")[2])
    assert trigger["metricType"] == "Value"
    assert 'scale_target="chat"' in trigger["metadata"]["query"]


def test_the_yaml_is_whole_however_much_there_is_to_say() -> None:
    """Names as long as Kubernetes takes them, and a query that nobody would write."""
    long = [
        metric(1.0, name=f"s{i}-x", query=f"sum(vllm:inter_token_latency_seconds_{'x' * 400}{i})") for i in range(5)
    ]
    names = {
        "name": "n" * 63,
        "namespace": "s" * 63,
        "target": f"leaderworkerset/{'t' * 63}",
        "scaled_object": "o" * 63,
    }
    view = hpa(metrics=tuple(long), **names)
    found = condition(autoscalers=(replace(view, namespace="team"),))
    assert found is not None
    assert len(found.message) < MAX_MESSAGE
    assert yaml.safe_load(keda_trigger(view))
    assert yaml.safe_load(hpa_metric(view))


@pytest.mark.parametrize(
    ("scalers", "status", "reason"),
    [
        ((hpa(),), "True", "SpeculationNeutral"),
        ((hpa(metrics=(OURS, RUNNING)),), "False", "DistortedMetric"),
        ((hpa(metrics=(metric(1.0, name="my_metric"),)),), "Unknown", "MetricNotRecognised"),
        ((hpa(metrics=()),), "Unknown", "MetricNotRecognised"),
        ((hpa(), hpa("second")), "Unknown", "SeveralAutoscalers"),
    ],
)
def test_one_condition_for_what_the_autoscaler_reads(scalers: tuple[Any, ...], status: str, reason: str) -> None:
    found = condition(autoscalers=scalers)
    assert found is not None
    assert (found.status, found.reason) == (status, reason)


def test_where_nobody_is_seen_to_scale_nothing_is_said() -> None:
    assert condition() is None


@pytest.mark.parametrize(
    ("label", "who"),
    [
        ("serving.knative.dev/revision", "Knative scales deployment/chat"),
        ("ray.io/cluster", "Ray Serve scales deployment/chat"),
        ("nvidia.com/dynamo-graph-deployment-name", "Dynamo's planner scales deployment/chat"),
    ],
)
def test_a_system_that_is_no_hpa_is_named_by_the_labels_of_its_pods(label: str, who: str) -> None:
    found = condition(pods=(pod(labels=(("app", "chat"), (label, "chat-1"))),))
    assert found is not None
    assert (found.status, found.reason) == ("Unknown", "AutoscalerUnrecognised")
    assert found.message.startswith(who)


@pytest.mark.parametrize(
    ("system", "metric_name", "status", "reason"),
    [
        ("Knative", "concurrency", "False", "DistortedMetric"),
        ("Knative", "requests_per_second (rps)", "True", "SpeculationNeutral"),
        ("Knative", "something", "Unknown", "AutoscalerUnrecognised"),
        ("WVA", "", "Unknown", "AutoscalerUnrecognised"),
    ],
)
def test_one_with_a_resource_of_its_own_is_judged_by_what_that_says(
    system: str, metric_name: str, status: str, reason: str
) -> None:
    foreign = ForeignAutoscaler("team", "chat-1", system, "deployment/chat", metric_name)
    found = condition(foreign_autoscalers=(foreign,))
    assert found is not None
    assert (found.status, found.reason) == (status, reason)
    assert f"{system} (chat-1) scales deployment/chat" in found.message
    assert condition(foreign_autoscalers=(replace(foreign, namespace="other"),)) is None


def test_an_hpa_that_follows_what_another_system_recommends_is_judged_by_its_own_metric() -> None:
    """WVA writes no replicas: an HPA reads its recommendation."""
    wva = ForeignAutoscaler("team", "chat", "WVA", "deployment/chat")
    follows = hpa(metrics=(metric(2.0, name="wva_desired_replicas"),))
    found = condition(foreign_autoscalers=(wva,), autoscalers=(follows,))
    assert found is not None
    assert (found.status, found.reason) == ("False", "DistortedMetric")
    assert "wva_desired_replicas: WVA makes it of KV cache usage" in found.message


def test_the_worst_of_several_targets_is_said() -> None:
    two = (pod("chat-0"), pod("code-0", owner="deployment/code"))
    scalers = (hpa(selector=None), hpa("code", target="deployment/code", selector=None, metrics=(RUNNING,)))
    found = condition(pods=two, autoscalers=scalers)
    assert found is not None
    assert (found.status, "deployment/code" in found.message) == ("False", True)


def test_the_load_is_that_of_the_target_that_the_autoscaler_names() -> None:
    """Leaders of a LeaderWorkerSet are owned by a StatefulSet."""
    scaler = hpa(target="leaderworkerset/chat")
    memory = decide(snapshot(profiles=(profile(),), autoscalers=(scaler,), now_seconds=NOW), FleetMemory())[1]
    assert list(memory.loads) == [("team", "leaderworkerset/chat", KEY)]
