"""HorizontalPodAutoscalers as the API server returns them become views; what cannot be read is unknown, not nought."""

from typing import Any

import pytest

from turbospec.fleet.autoscalers import TOLERANCE, ScaleMetric, ScaleRule
from turbospec_operator.autoscaler_views import autoscaler_view, number


def external(name: str, target: dict[str, Any]) -> dict[str, Any]:
    return {"type": "External", "external": {"metric": {"name": name}, "target": target}}


def raw(**changes: Any) -> dict[str, Any]:
    """An HPA with one metric that has a value."""
    spec: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        "minReplicas": 2,
        "maxReplicas": 9,
        "metrics": [external("turbospec_offered_load_ratio", {"type": "Value", "value": "800m"})],
    }
    status: dict[str, Any] = {
        "currentReplicas": 3,
        "desiredReplicas": 4,
        "lastScaleTime": "2026-01-02T03:04:05Z",
        "currentMetrics": [
            {
                "type": "External",
                "external": {"metric": {"name": "turbospec_offered_load_ratio"}, "current": {"value": "1100m"}},
            }
        ],
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "SucceededRescale", "message": "done"}],
    }
    return {
        "metadata": {"namespace": "shop", "name": "chat"},
        "spec": spec | changes.get("spec", {}),
        "status": status | changes.get("status", {}),
    } | ({"status": {}} if changes.get("new") else {})


def test_what_an_hpa_says_is_in_its_view() -> None:
    view = autoscaler_view(raw(), "app=chat", None)
    assert (view.target, view.selector, view.min_replicas, view.max_replicas) == ("deployment/chat", "app=chat", 2, 9)
    assert (view.current, view.desired) == (3, 4)
    assert view.metrics == (ScaleMetric("External", "turbospec_offered_load_ratio", "Value", 0.8, 1.1),)
    condition = view.condition("AbleToScale")
    assert condition is not None
    assert condition.reason == "SucceededRescale"
    assert view.condition("ScalingActive") is None
    assert view.last_scale_seconds == 1767323045.0
    assert (view.up, view.down, view.scaled_object) == (ScaleRule(0), ScaleRule(300), None)


def test_one_that_has_not_looked_yet_knows_no_numbers() -> None:
    view = autoscaler_view(raw(new=True), None, None)
    assert (view.current, view.desired, view.metrics[0].current) == (None, None, None)


def test_a_target_at_zero_has_zero_replicas() -> None:
    """The API leaves nought out."""
    status = {"currentReplicas": None, "desiredReplicas": 0}
    assert autoscaler_view(raw(status=status), None, None).current == 0


def entry(source: str, target: dict[str, Any] | None, current: dict[str, Any], **name: Any) -> tuple[Any, Any]:
    """A metric as the spec has it, and as the status does."""
    field = source[0].lower() + source[1:]
    return {"type": source, field: {**name, "target": target}}, {"type": source, field: {**name, "current": current}}


UTILIZATION = {"type": "Utilization", "averageUtilization": 80}
METRIC = {"metric": {"name": "m"}}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            entry("Resource", UTILIZATION, {"averageUtilization": 60, "averageValue": "1"}, name="cpu"),
            ScaleMetric("Resource", "cpu", "Utilization", 80.0, 60.0),
        ),
        (
            entry("ContainerResource", UTILIZATION, {"averageUtilization": 9}, name="memory", container="vllm"),
            ScaleMetric("ContainerResource", "memory", "Utilization", 80.0, 9.0),
        ),
        (
            entry("Pods", {"type": "AverageValue", "averageValue": "1k"}, {"averageValue": "500"}, **METRIC),
            ScaleMetric("Pods", "m", "AverageValue", 1000.0, 500.0),
        ),
        (
            entry("Object", {"type": "Value", "value": "2"}, {"value": "3"}, describedObject={}, **METRIC),
            ScaleMetric("Object", "m", "Value", 2.0, 3.0),
        ),
        (
            entry("External", {"type": "Value", "value": "much"}, {"value": "x"}, **METRIC),
            ScaleMetric("External", "m", "Value", 0.0, None),
        ),
        (entry("Novelty", None, {}), ScaleMetric("Novelty", "", "", 0.0, None)),
        # The controller's own way to say that it has no value.
        (
            (entry("Pods", {"type": "Value", "value": "2"}, {}, **METRIC)[0], {"type": ""}),
            ScaleMetric("Pods", "m", "Value", 2.0),
        ),
    ],
)
def test_metrics_of_all_sources_and_forms(written: tuple[Any, Any], expected: ScaleMetric) -> None:
    spec, current = written
    view = autoscaler_view(raw(spec={"metrics": [spec]}, status={"currentMetrics": [current]}), None, None)
    assert view.metrics == (expected,)


@pytest.mark.parametrize(
    ("said", "values"),
    [(["3", "5"], [3.0, 5.0]), ([None, "5"], [None, 5.0]), (["3", None], [3.0, None]), (["3"], [None, None])],
    ids=["both", "the second", "the first", "nobody knows which"],
)
def test_metrics_of_one_name_are_told_apart_by_their_place(said: list[str | None], values: list[float | None]) -> None:
    """Two selectors of one series: the one that is missing has not the value of the other."""
    wanted, _ = entry("External", {"type": "Value", "value": "2"}, {}, **METRIC)
    current = [
        {"type": ""} if value is None else entry("External", None, {"value": value}, **METRIC)[1] for value in said
    ]
    view = autoscaler_view(raw(spec={"metrics": [wanted] * 2}, status={"currentMetrics": current}), None, None)
    assert [each.current for each in view.metrics] == values


def test_behaviour_is_read_as_it_is_written() -> None:
    policies = [{"type": "Pods", "value": 2, "periodSeconds": 60}]
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": policies}}
    view = autoscaler_view(raw(spec={"behavior": behavior | {"scaleUp": {"tolerance": "50m"}}}), None, None)
    assert view.down == ScaleRule(0, "Min", (("Pods", 2, 60),))
    assert view.down.tolerance == TOLERANCE
    assert view.up == ScaleRule(0, tolerance=0.05)


def test_kedas_queries_come_from_its_triggers_by_number() -> None:
    triggers = [{"type": "cron"}, {"type": "prometheus", "metadata": {"query": "sum(vllm:num_requests_running)"}}]
    keda = raw(spec={"metrics": [external("s1-prometheus", {"type": "AverageValue", "averageValue": "4"})]})
    keda["metadata"]["labels"] = {"scaledobject.keda.sh/name": "scaler"}
    view = autoscaler_view(keda, "app=chat", {"spec": {"triggers": triggers}})
    assert (view.metrics[0].query, view.scaled_object) == ("sum(vllm:num_requests_running)", "scaler")
    assert autoscaler_view(keda, "app=chat", None).metrics[0].query == ""


QUANTITIES = [("800m", 0.8), ("2", 2.0), (3, 3.0), ("1Ki", 1024.0), ("1k", 1000.0), ("-1", -1.0)]


@pytest.mark.parametrize(("quantity", "value"), [*QUANTITIES, ("", None), ("NaN", None), (None, None), ("x", None)])
def test_quantities(quantity: object, value: float | None) -> None:
    assert number(quantity) == value
