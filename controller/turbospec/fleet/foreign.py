"""Who scales pods where no HorizontalPodAutoscaler does: known by their own resources, else by the pods' labels."""

from collections.abc import Iterable, Sequence

from turbospec.fleet.autoscalers import ForeignAutoscaler
from turbospec.fleet.snapshot import PodView

LABELS = (
    ("serving.knative.dev/revision", "Knative"),
    ("ray.io/cluster", "Ray Serve"),
    ("nvidia.com/dynamo-graph-deployment-name", "Dynamo's planner"),
    ("nvidia.com/dynamo-namespace", "Dynamo's planner"),
)
"""Labels of pods whose replicas somebody else than a HorizontalPodAutoscaler decides on."""

ADVICE = {
    "Knative": "Annotate the revision's template with autoscaling.knative.dev/metric: rps, which K does not move.",
    "Ray Serve": "It goes by requests in progress (target_ongoing_requests), which fall when speculation works.",
    "Dynamo's planner": "It goes by time to first token and between tokens; where the graph holds no planner, nobody "
    "scales them, and an HPA on the DynamoGraphDeploymentScalingAdapter may.",
    "WVA": "It recommends only: let an HPA or KEDA follow it.",
}
"""What to know of each: what it reads, by its documentation, and what can be done about it."""


def foreign_autoscaler(
    namespace: str, target: str, pods: Sequence[PodView], seen: Iterable[ForeignAutoscaler]
) -> ForeignAutoscaler | None:
    """Whoever scales this target (``kind/name``) by a resource of its own, else by what its pods' labels say."""
    named = [entry for entry in seen if (entry.namespace, entry.target) == (namespace, target)]
    if named:
        return min(named, key=lambda entry: (entry.system, entry.name))
    labels = {label for pod in pods for label, _ in pod.labels}
    system = next((system for label, system in LABELS if label in labels), None)
    return None if system is None else ForeignAutoscaler(namespace, "", system, target)
