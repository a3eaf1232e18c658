"""Short ways to say how a target is scaled."""

from typing import Any

from turbospec.fleet.autoscalers import AutoscalerCondition, AutoscalerView, ScaleMetric

OURS = ScaleMetric("External", "turbospec_offered_load_ratio", "Value", 0.8, 0.8)
ABLE = AutoscalerCondition("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
ACTIVE = AutoscalerCondition("ScalingActive", "True", "ValidMetricFound", "the HPA was able to compute the count")
WITHIN = AutoscalerCondition("ScalingLimited", "False", "DesiredWithinRange", "the desired count is within range")
STABILIZED = AutoscalerCondition("AbleToScale", "True", "ScaleDownStabilized", "recent recommendations were higher")


def hpa(name: str = "chat", **changes: Any) -> AutoscalerView:
    """Two replicas of deployment/chat, at rest."""
    values: dict[str, Any] = {
        "namespace": "team",
        "name": name,
        "target": "deployment/chat",
        "selector": "app=chat",
        "min_replicas": 1,
        "max_replicas": 10,
        "current": 2,
        "desired": 2,
        "metrics": (OURS,),
        "conditions": (ABLE, ACTIVE, WITHIN),
    }
    return AutoscalerView(**(values | changes))


def metric(current: float | None, target: float = 0.8, **changes: Any) -> ScaleMetric:
    """Our ratio with this value."""
    values: dict[str, Any] = {"source": "External", "name": "turbospec_offered_load_ratio", "form": "Value"}
    return ScaleMetric(**(values | changes), target=target, current=current)
