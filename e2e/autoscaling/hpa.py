"""The HorizontalPodAutoscalers that ``examples/autoscaling`` makes, by itself or through KEDA."""

import re
from typing import Any

import yaml

from e2e.autoscaling.external_metrics import PODS_AT_FULL_LOAD, SHARE, WHOLE_PODS
from e2e.cluster.paths import REPOSITORY

Manifest = dict[str, Any]

EXAMPLES = REPOSITORY / "examples" / "autoscaling"
EXTERNAL = "hpa-external.yaml"
WHOLE = re.compile(rf"ceil\(sum\({PODS_AT_FULL_LOAD}\{{[^}}]*\}}\) / {SHARE}\)")


def example_hpa(file: str, namespace: str, **spec: Any) -> Manifest:
    """That of this example; of a ScaledObject the one that KEDA makes of it. ``spec`` replaces fields."""
    found = _read(EXTERNAL)
    found["metadata"]["namespace"] = namespace
    if file != EXTERNAL:
        found["spec"] |= _by_keda(_read(file)["spec"], found["spec"])
    found["spec"] |= spec
    return found


def _read(file: str) -> Manifest:
    found: Manifest = yaml.safe_load((EXAMPLES / file).read_text())
    return found


def _by_keda(scaled: Manifest, like: Manifest) -> Manifest:
    """Its metric bears the name of the series and not KEDA's ``s0-prometheus``: there is no KEDA here that would know
    which query that stands for."""
    (trigger,) = scaled["triggers"]
    query = trigger["metadata"]["query"]
    (series,) = [WHOLE_PODS] if WHOLE.fullmatch(query) else re.findall(r"turbospec_\w+", query)
    selector = like["metrics"][0]["external"]["metric"]["selector"]
    form = trigger["metricType"]
    field = {"Value": "value", "AverageValue": "averageValue"}[form]
    target = {"type": form, field: trigger["metadata"]["threshold"]}
    metric = {"name": series, "selector": selector}
    return {
        "scaleTargetRef": scaled["scaleTargetRef"],
        "minReplicas": scaled["minReplicaCount"],
        "maxReplicas": scaled["maxReplicaCount"],
        "behavior": scaled.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {}),
        "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
    }
