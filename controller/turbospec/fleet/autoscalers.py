"""Autoscalers as they were observed. All frozen; times are seconds since the epoch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScaleMetric:
    """One metric of an autoscaler: what is read, in which form it is compared, and with what.

    ``source`` and ``form`` as the HorizontalPodAutoscaler spells them (``External``, ``Pods``...; ``Value``,
    ``AverageValue``, ``Utilization``). ``query`` is the PromQL behind it, where that can be seen (KEDA). ``current`` is
    None while the autoscaler has no value.
    """

    source: str
    name: str
    form: str
    target: float
    current: float | None = None
    query: str = ""


TOLERANCE = 0.1
"""The controller's default: a metric within a tenth of its target moves nothing."""


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """How fast one direction may go: stabilisation, and policies as (type, value, period in seconds).

    ``tolerance``: how far a metric may be off its target, as a share of that, before anything moves this way.
    """

    stabilization_seconds: int
    select_policy: str = "Max"
    policies: tuple[tuple[str, int, int], ...] = ()
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class AutoscalerCondition:
    """One of ``AbleToScale``, ``ScalingActive``, ``ScalingLimited``."""

    type: str
    status: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class AutoscalerView:
    """One HorizontalPodAutoscaler, KEDA's included (``scaled_object`` then names the ScaledObject).

    ``target`` is ``kind/name`` in lower case. ``selector`` is that of the target's scale subresource, as text; None
    where it could not be read. ``current`` and ``desired`` are None before the autoscaler has looked at its pods.
    """

    namespace: str
    name: str
    target: str
    selector: str | None
    min_replicas: int
    max_replicas: int
    current: int | None
    desired: int | None
    metrics: tuple[ScaleMetric, ...] = ()
    conditions: tuple[AutoscalerCondition, ...] = ()
    up: ScaleRule = ScaleRule(0)
    down: ScaleRule = ScaleRule(300)
    last_scale_seconds: float | None = None
    scaled_object: str | None = None

    def condition(self, kind: str) -> AutoscalerCondition | None:
        """The condition of this type; None where the autoscaler has not said it."""
        return next((entry for entry in self.conditions if entry.type == kind), None)


@dataclass(frozen=True, slots=True)
class ForeignAutoscaler:
    """One that is no HorizontalPodAutoscaler.

    ``system`` is what people call it; ``name`` is that of its resource, empty where only the labels of pods tell of it;
    ``metric`` what it scales on, empty where that cannot be seen.
    """

    namespace: str
    name: str
    system: str
    target: str
    metric: str = ""
