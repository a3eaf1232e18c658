"""What is happening to the number of replicas: from an autoscaler's status and its pods to one word with evidence.

The HorizontalPodAutoscaler writes its status before replicas follow, so what it wants shows before pods come or go;
what it would like and may not (stabilisation, limits) shows in its conditions. Whatever does not add up is unknown.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from turbospec.fleet.autoscalers import AutoscalerCondition, AutoscalerView, ScaleMetric
from turbospec.fleet.scaling import PodStage, ScaleTarget
from turbospec.fleet.settling import SETTLE_SECONDS

MAX_WORDS = 160
"""Of what the scheduler says; on large clusters it goes on for lines."""


class ScaleState(StrEnum):
    """Where a scale event stands."""

    UP_IMMINENT = "UpImminent"
    UP_UNDER_WAY = "UpUnderWay"
    HELD_DOWN = "HeldDown"
    DOWN_UNDER_WAY = "DownUnderWay"
    STEADY = "Steady"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """What is happening, why that is believed, and in words on what evidence.

    ``replicas`` is how many there will be when the event is over; None where that is not known.
    """

    state: ScaleState
    reason: str
    evidence: str
    replicas: int | None = None

    @property
    def in_progress(self) -> bool:
        """Whether pods come or go, or are about to: no time to measure, nor to try something on a few pods."""
        return self.state in (ScaleState.UP_IMMINENT, ScaleState.UP_UNDER_WAY, ScaleState.DOWN_UNDER_WAY)


def classify(target: ScaleTarget, now_seconds: float) -> ScaleEvent:
    """The scale event of one target. Pods speak first: they come and go, whatever anybody says."""
    said = _by_autoscaler(target)
    by_pods = _by_pods(target, now_seconds)
    if by_pods is None:
        return said
    # The autoscaler knows better where pods only show the direction.
    if said.state is by_pods.state:
        return ScaleEvent(said.state, said.reason, f"{said.evidence} {by_pods.evidence}", said.replicas)
    return by_pods


def moving_owners(
    targets: Mapping[tuple[str, str], ScaleTarget], events: Mapping[tuple[str, str], ScaleEvent]
) -> frozenset[tuple[str, str]]:
    """The (namespace, owner) of pods whose number is moving or about to: ``settling`` knows those that move only."""
    moving = (targets[place] for place, event in events.items() if event.in_progress)
    return frozenset(
        (target.namespace, pod.owner) for target in moving for pod, _ in target.pods if pod.owner is not None
    )


def _by_pods(target: ScaleTarget, now: float) -> ScaleEvent | None:
    """Pods on their way in or out. Where both are, a rollout replaces them: the number is not moving by itself."""
    coming = [pod for pod, stage in target.pods if stage in (PodStage.PENDING, PodStage.STARTING)]
    moving = [pod for pod in coming if now - pod.created_seconds < SETTLE_SECONDS]
    leaving = sum(
        stage in (PodStage.DRAINING, PodStage.TERMINATING)
        and (pod.changed_seconds is None or now - pod.changed_seconds < SETTLE_SECONDS)
        for pod, stage in target.pods
    )
    there = target.count(PodStage.WARMING, PodStage.SERVING)
    staying = len(target.pods) - leaving
    if moving:
        nodeless = [pod.no_node for pod in moving if pod.no_node]
        reason = "PodsReplaced" if leaving else "PodsStarting" if len(nodeless) < len(moving) else "NodesAwaited"
        words = f"{len(moving)} pods start beside {there}."
        if nodeless:
            words += f" {len(nodeless)} of them have no node yet: {min(nodeless)[:MAX_WORDS]}"
        return ScaleEvent(ScaleState.UP_UNDER_WAY, reason, words, staying)
    if leaving:
        return ScaleEvent(ScaleState.DOWN_UNDER_WAY, "PodsTerminating", f"{leaving} pods end, {there} stay.", staying)
    return None


def _by_autoscaler(target: ScaleTarget) -> ScaleEvent:
    found = target.autoscalers
    if not found and target.foreign is not None:
        evidence = f"{target.foreign.system} decides on them; how cannot be seen from here."
        return ScaleEvent(ScaleState.UNKNOWN, "AutoscalerUnrecognised", evidence)
    if not found:
        return ScaleEvent(ScaleState.UNKNOWN, "NoHorizontalPodAutoscaler", "no HorizontalPodAutoscaler was found.")
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        return ScaleEvent(ScaleState.UNKNOWN, "SeveralAutoscalers", f"{names} decide on the same pods.")
    hpa = found[0]
    if hpa.current is None or hpa.desired is None:
        return ScaleEvent(ScaleState.UNKNOWN, "NoStatus", f"{hpa.name} has not looked at its pods yet.")
    counted = f"{hpa.name} has {hpa.current} replicas and wants {hpa.desired}."
    # Without a metric it has decided nothing yet: nought is where it starts from.
    decided = hpa.desired > 0 or not _fails(hpa.condition("ScalingActive"))
    if hpa.desired != hpa.current and decided:
        more = hpa.desired > hpa.current
        state = ScaleState.UP_UNDER_WAY if more else ScaleState.DOWN_UNDER_WAY
        return ScaleEvent(state, "MoreDesired" if more else "FewerDesired", counted, hpa.desired)
    return _by_conditions(hpa, hpa.current, counted) or _by_metrics(hpa, hpa.current, counted)


def _by_conditions(hpa: AutoscalerView, replicas: int, counted: str) -> ScaleEvent | None:
    """What an autoscaler that has what it wants says of itself; None where it just follows its metrics."""
    if hpa.min_replicas == hpa.max_replicas:
        return ScaleEvent(ScaleState.STEADY, "FixedReplicas", f"{counted} minReplicas is maxReplicas.", replicas)
    for kind in ("ScalingActive", "AbleToScale"):
        said = hpa.condition(kind)
        if said is not None and _fails(said):
            off = said.reason == "ScalingDisabled"
            state = ScaleState.STEADY if off else ScaleState.UNKNOWN
            return ScaleEvent(
                state, said.reason or kind, f"{counted} {said.message}".strip(), replicas if off else None
            )
    able = hpa.condition("AbleToScale")
    if able is not None and able.reason == "ScaleDownStabilized":
        return ScaleEvent(ScaleState.HELD_DOWN, able.reason, f"{counted} It would like fewer.", replicas)
    if able is not None and able.reason == "ScaleUpStabilized":
        return ScaleEvent(ScaleState.UP_IMMINENT, able.reason, f"{counted} It would like more.")
    return None


def _by_metrics(hpa: AutoscalerView, replicas: int, counted: str) -> ScaleEvent:
    """What it will want at its next sync, at most 15 s from now."""
    ratios = [ratio for metric in hpa.metrics if (ratio := usage_ratio(metric)) is not None]
    highest = max(ratios, default=0.0)
    if highest > 1.0 + hpa.up.tolerance:
        if replicas >= hpa.max_replicas:
            return ScaleEvent(ScaleState.STEADY, "AtMaxReplicas", f"{counted} More are not allowed.", replicas)
        if hpa.up.select_policy == "Disabled":
            words = f"{counted} spec.behavior.scaleUp.selectPolicy is Disabled."
            return ScaleEvent(ScaleState.STEADY, "ScaleUpDisabled", words, replicas)
        evidence = f"{counted} Its metric is {highest:.2f} x its target."
        wanted = min(hpa.max_replicas, math.ceil(replicas * highest))
        return ScaleEvent(ScaleState.UP_IMMINENT, "MetricAboveTarget", evidence, wanted)
    if not ratios or len(ratios) < len(hpa.metrics):
        # One that is missing could ask for more; that the others do not, says nothing.
        return ScaleEvent(ScaleState.UNKNOWN, "MetricMissing", f"{counted} A metric has no usable value.")
    return ScaleEvent(ScaleState.STEADY, "MetricAtTarget", counted, replicas)


def _fails(condition: AutoscalerCondition | None) -> bool:
    return condition is not None and condition.status != "True"


def usage_ratio(metric: ScaleMetric) -> float | None:
    """Current over target; None where one is missing or can be no measurement."""
    if metric.current is None or not math.isfinite(metric.current) or metric.current < 0.0:
        return None
    if not math.isfinite(metric.target) or metric.target <= 0.0:
        return None
    return metric.current / metric.target
