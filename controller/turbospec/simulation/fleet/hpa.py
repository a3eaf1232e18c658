"""The HorizontalPodAutoscaler's arithmetic, as Kubernetes documents it and its controller computes it. Pure.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details; where the text leaves room
(which pods count as not yet ready, what a period's events are) the rules are those of
``pkg/controller/podautoscaler/{replica_calculator,horizontal}.go`` of Kubernetes 1.34.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

SYNC_SECONDS = 15.0
"""--horizontal-pod-autoscaler-sync-period."""
TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance."""


class Form(StrEnum):
    """How a metric meets its target."""

    PODS = "Pods"
    """One value per pod; the target is an average (``type: Pods``)."""
    VALUE = "Value"
    """One value for all (``type: External``, ``target.value``)."""
    AVERAGE_VALUE = "AverageValue"
    """One value for all, shared by the replicas (``type: External``, ``target.averageValue``)."""


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """A pod as the controller sees it. ``pending``: its phase; ``ready``: its Ready condition."""

    name: str
    pending: bool = False
    ready: bool = True
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric with its target. ``value`` is None where the metric is missing; ``by_pod`` is for the form Pods."""

    form: Form
    target: float
    value: float | None = None
    by_pod: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``value`` pods, or percent of the replicas, within ``period_seconds``."""

    type: str
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction of ``spec.behavior``. ``select`` is Max, Min or Disabled."""

    stabilization_seconds: float
    policies: tuple[Policy, ...]
    select: str = "Max"


UP = Rules(0.0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DOWN = Rules(300.0, (Policy("Percent", 100, 15),))
"""The defaults."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The part of an HPA's spec that is no metric."""

    min_replicas: int
    max_replicas: int
    up: Rules = UP
    down: Rules = DOWN


def proposal(reading: Reading, replicas: int, pods: Sequence[ObservedPod]) -> int | None:
    """The replicas that one metric asks for; None where it is missing.

    ``replicas`` is the present number (``status.replicas``), starting pods included.
    """
    if reading.form is Form.PODS:
        return _by_pods(reading, replicas, pods)
    if reading.value is None or math.isnan(reading.value):
        return None
    if reading.form is Form.AVERAGE_VALUE:
        ratio = reading.value / (reading.target * replicas)
        return replicas if _tolerable(ratio) else _ceil(reading.value / reading.target)
    ratio = reading.value / reading.target
    if _tolerable(ratio):
        return replicas
    return _ceil(ratio * sum(pod.ready and not pod.terminating for pod in pods))


def _by_pods(reading: Reading, replicas: int, pods: Sequence[ObservedPod]) -> int | None:
    """Missing metrics count as the target on the way down and as nothing on the way up; pending pods as nothing."""
    living = [pod for pod in pods if not pod.terminating]
    unready = [pod.name for pod in living if pod.pending]
    missing = [pod.name for pod in living if not pod.pending and pod.name not in reading.by_pod]
    values = {pod.name: reading.by_pod[pod.name] for pod in living if not pod.pending and pod.name in reading.by_pod}
    if not values:
        return None
    ratio = _ratio(values, reading.target)
    up_with_unready = bool(unready) and ratio > 1.0
    if not up_with_unready and not missing:
        return replicas if _tolerable(ratio) else _ceil(ratio * len(values))
    values |= dict.fromkeys(missing, reading.target if ratio < 1.0 else 0.0)
    if up_with_unready:
        values |= dict.fromkeys(unready, 0.0)
    cautious = _ratio(values, reading.target)
    turned = (ratio < 1.0 < cautious) or (cautious < 1.0 < ratio)
    if _tolerable(cautious) or turned:
        return replicas
    asked = _ceil(cautious * len(values))
    backwards = (cautious < 1.0 and asked > replicas) or (cautious > 1.0 and asked < replicas)
    return replicas if backwards else asked


def _ratio(values: Mapping[str, float], target: float) -> float:
    return sum(values.values()) / (len(values) * target)


def _tolerable(ratio: float) -> bool:
    return 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE


def _ceil(value: float) -> int:
    """Metrics travel as milli-quantities: what is above a whole number by less than that is none more."""
    return math.ceil(round(value, 6))


class Autoscaler:
    """One HPA: recommendations of the past for stabilisation, scale events of the past for its policies."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._recommended: list[tuple[float, int]] = []
        self._events: list[tuple[float, int]] = []
        """When replicas were changed, and by how many."""

    def decide(self, now: float, replicas: int, pods: Sequence[ObservedPod], readings: Sequence[Reading]) -> int:
        """The number of replicas from now on; the same as before where metrics are missing."""
        wanted = self._wanted(now, replicas, pods, readings)
        if wanted != replicas:
            self._events.append((now, wanted - replicas))
        return wanted

    def _wanted(self, now: float, replicas: int, pods: Sequence[ObservedPod], readings: Sequence[Reading]) -> int:
        bounds = self._bounds
        if replicas == 0:
            return 0
        if not bounds.min_replicas <= replicas <= bounds.max_replicas:
            return min(max(replicas, bounds.min_replicas), bounds.max_replicas)
        asked = [proposal(reading, replicas, pods) for reading in readings]
        known = [value for value in asked if value is not None]
        if not known or (len(known) < len(asked) and max(known) < replicas):
            return replicas
        return self._limited(now, replicas, self._stable(now, replicas, max(known)))

    def _stable(self, now: float, replicas: int, desired: int) -> int:
        up, down = self._bounds.up.stabilization_seconds, self._bounds.down.stabilization_seconds
        least = min([desired, *(value for at, value in self._recommended if now - at < up)])
        most = max([desired, *(value for at, value in self._recommended if now - at < down)])
        kept = max(up, down)
        self._recommended = [entry for entry in self._recommended if now - entry[0] < kept]
        self._recommended.append((now, desired))
        return min(max(replicas, least), most)

    def _limited(self, now: float, replicas: int, desired: int) -> int:
        bounds = self._bounds
        if desired > replicas:
            most = max(replicas, self._reach(now, replicas, bounds.up, 1))
            return min(desired, most, bounds.max_replicas)
        if desired < replicas:
            least = min(replicas, self._reach(now, replicas, bounds.down, -1))
            return max(desired, least, bounds.min_replicas)
        return desired

    def _reach(self, now: float, replicas: int, rules: Rules, sign: int) -> int:
        """How far the policies of one direction let the replicas go."""
        if rules.select == "Disabled":
            return replicas
        reached = []
        for policy in rules.policies:
            start = replicas - sum(change for at, change in self._events if now - at < policy.period_seconds)
            if policy.type == "Pods":
                reached.append(start + sign * policy.value)
            elif sign > 0:
                reached.append(math.ceil(start * (100 + policy.value) / 100))
            else:
                reached.append(start * (100 - policy.value) // 100)
        far, near = (max, min) if sign > 0 else (min, max)
        return near(reached) if rules.select == "Min" else far(reached)
