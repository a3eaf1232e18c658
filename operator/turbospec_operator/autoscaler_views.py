"""Raw HorizontalPodAutoscalers (and KEDA's ScaledObjects) as views. Pure; what cannot be read is unknown."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import InvalidOperation
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from turbospec.fleet.autoscalers import TOLERANCE, AutoscalerCondition, AutoscalerView, ScaleMetric, ScaleRule
from turbospec_operator.job_views import MAX_TEXT
from turbospec_operator.views import seconds

Raw = Mapping[str, Any]

LABEL_SCALED_OBJECT = "scaledobject.keda.sh/name"
DEFAULT_DOWN_SECONDS = 300
"""The controller's own, for scaling down; scaling up it waits for nothing."""

_KEDA_METRIC = re.compile(r"s(\d+)-")
_FORMS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
_SOURCES = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def scale_reference(raw: Raw) -> tuple[str, str, str]:
    """API version, kind and name of what is scaled."""
    reference = raw["spec"]["scaleTargetRef"]
    return reference.get("apiVersion") or "v1", reference["kind"], reference["name"]


def autoscaler_view(raw: Raw, selector: str | None, scaled_object: Raw | None) -> AutoscalerView:
    """One HorizontalPodAutoscaler with the selector of its target's scale, and the ScaledObject that made it."""
    spec, status, meta = raw["spec"], raw.get("status") or {}, raw["metadata"]
    _, kind, name = scale_reference(raw)
    conditions = status.get("conditions") or []
    behavior = spec.get("behavior") or {}
    return AutoscalerView(
        namespace=meta["namespace"],
        name=meta["name"],
        target=f"{kind.lower()}/{name}",
        selector=selector,
        min_replicas=int(spec.get("minReplicas", 1)),
        max_replicas=int(spec["maxReplicas"]),
        # Nought is left out of the status; what it has not looked at yet has no condition either.
        current=int(status.get("currentReplicas") or 0) if conditions else None,
        desired=int(status.get("desiredReplicas") or 0) if conditions else None,
        metrics=_metrics(spec.get("metrics") or [], status.get("currentMetrics") or [], _queries(scaled_object)),
        conditions=tuple(
            AutoscalerCondition(
                str(each.get("type", "")),
                str(each.get("status", "")),
                str(each.get("reason", "")),
                str(each.get("message", ""))[:MAX_TEXT],
            )
            for each in conditions
        ),
        up=_rule(behavior.get("scaleUp") or {}, 0),
        down=_rule(behavior.get("scaleDown") or {}, DEFAULT_DOWN_SECONDS),
        last_scale_seconds=seconds(status.get("lastScaleTime")),
        scaled_object=(meta.get("labels") or {}).get(LABEL_SCALED_OBJECT),
    )


def number(quantity: object) -> float | None:
    """A Kubernetes quantity (``800m``, ``1Ki``) as a number; None for what is none."""
    if quantity is None:
        return None
    try:
        found = float(parse_quantity(str(quantity)))
    except (ValueError, InvalidOperation):
        return None
    return found if math.isfinite(found) else None


def _metrics(specs: Sequence[Raw], current: Sequence[Raw], queries: Mapping[int, str]) -> tuple[ScaleMetric, ...]:
    """Values by the metric's name; by its place where several bear one, which differ by their selectors."""
    named = Counter(_parts(each)[:2] for each in specs)
    said = [_parts(each) for each in current]
    # The controller keeps the places: a metric that it cannot read has an entry without a type.
    placed = len(specs) == len(current)
    found = []
    for place, each in enumerate(specs):
        source, name, body = _parts(each)
        known = said if named[source, name] == 1 else said[place : place + 1] if placed else []
        value = next((other[2].get("current") or {} for other in known if other[:2] == (source, name)), {})
        form = str((body.get("target") or {}).get("type", ""))
        field = _FORMS.get(form, "value")
        keda = _KEDA_METRIC.match(name)
        found.append(
            ScaleMetric(
                source,
                name,
                form,
                # Unreadable is no target at all, which no value is compared with.
                number((body.get("target") or {}).get(field)) or 0.0,
                number(value.get(field)),
                queries.get(int(keda[1]), "") if keda is not None else "",
            )
        )
    return tuple(found)


def _parts(metric: Raw) -> tuple[str, str, Raw]:
    """Source, name and body of a metric, as spec and status both write them."""
    source = str(metric.get("type", ""))
    body: Raw = metric.get(_SOURCES.get(source, ""), None) or {}
    return source, str((body.get("metric") or {}).get("name") or body.get("name") or ""), body


def _queries(scaled_object: Raw | None) -> dict[int, str]:
    """What KEDA's triggers read, by their number: its metrics are named ``s<number>-<type>``."""
    triggers = ((scaled_object or {}).get("spec") or {}).get("triggers") or []
    found = {}
    for number_of, trigger in enumerate(triggers):
        metadata = trigger.get("metadata") or {}
        found[number_of] = str(metadata.get("query") or metadata.get("metricName") or "")[:MAX_TEXT]
    return found


def _rule(raw: Raw, default_seconds: int) -> ScaleRule:
    window, tolerance = raw.get("stabilizationWindowSeconds"), number(raw.get("tolerance"))
    return ScaleRule(
        default_seconds if window is None else int(window),
        str(raw.get("selectPolicy") or "Max"),
        tuple((str(p["type"]), int(p["value"]), int(p["periodSeconds"])) for p in raw.get("policies") or []),
        TOLERANCE if tolerance is None else tolerance,
    )
