"""Who scales the pods, and what is happening to them."""

from turbospec.fleet.snapshot import PodView


def scale_target(pod: PodView) -> str:
    """What the pod's replicas are counted on, as ``kind/name``."""
    return pod.owner or pod.controller or f"pod/{pod.name}"
