"""Which workloads are in the middle of a scale event or a roll-out: nothing is measured then."""

from collections.abc import Iterable

from turbospec.fleet.snapshot import PodView

SETTLE_SECONDS = 600.0
"""A pod that is not Ready, or not gone, after ten minutes is broken rather than new: replicas on new GPU nodes take two
to seven. Waiting for it would mean never to measure."""

Owner = tuple[str, str]
"""Namespace, and what ``kubectl rollout restart`` takes."""


def scaling_owners(pods: Iterable[PodView], now_seconds: float) -> frozenset[Owner]:
    """The owners of pods that are starting or ending."""
    return frozenset(
        (pod.namespace, pod.owner)
        for pod in pods
        if pod.owner is not None and (pod.terminating or not pod.ready) and _is_recent(pod, now_seconds)
    )


def _is_recent(pod: PodView, now_seconds: float) -> bool:
    return pod.changed_seconds is None or now_seconds - pod.changed_seconds < SETTLE_SECONDS
