"""Which policy governs which pod: label selectors, and the older policy where two select the same pod."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turbospec.fleet.snapshot import PodView, PolicyView

PROFILING_LABEL = "turbospec.io/profiling-key"
"""Profiling pods are copies of serving pods; nobody governs them, whatever other labels they carry."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pods selected by two policies; ``governs`` says whether the policy that holds this record won them."""

    other: str
    pods: tuple[str, ...]
    governs: bool


@dataclass(frozen=True, slots=True)
class Governance:
    """Pods by the uid of the policy that governs them, and every policy's overlaps. Terminating pods are in neither."""

    pods: Mapping[str, tuple[PodView, ...]]
    overlaps: Mapping[str, tuple[Overlap, ...]]


def seniority(policy: PolicyView) -> tuple[float, str, str, str]:
    """Sort key: older first; names only decide between equal creation times."""
    return (policy.created_seconds, policy.namespace, policy.name, policy.uid)


def selects(policy: PolicyView, pod: PodView) -> bool:
    """Whether the pod is in the policy's namespace and carries all its labels. No labels select nothing."""
    if policy.namespace != pod.namespace or not policy.match_labels:
        return False
    labels = dict(pod.labels)
    return PROFILING_LABEL not in labels and all(labels.get(key) == value for key, value in policy.match_labels)


def govern(policies: Iterable[PolicyView], pods: Iterable[PodView]) -> Governance:
    """Give every living pod to the oldest valid policy that selects it.

    A policy that cannot be read governs nothing and takes nothing from others; a paused one still governs its pods, so
    that pausing it does not hand them to a younger policy.
    """
    valid = sorted((policy for policy in policies if policy.invalid is None), key=seniority)
    governed: dict[str, list[PodView]] = {policy.uid: [] for policy in valid}
    shared: dict[tuple[str, str, bool], list[str]] = {}
    names = {policy.uid: policy.name for policy in valid}
    for pod in sorted(pods, key=lambda pod: (pod.namespace, pod.name, pod.uid)):
        if pod.terminating:
            continue
        selecting = [policy for policy in valid if selects(policy, pod)]
        if not selecting:
            continue
        winner, *losers = selecting
        governed[winner.uid].append(pod)
        for loser in losers:
            shared.setdefault((winner.uid, loser.uid, True), []).append(pod.name)
            shared.setdefault((loser.uid, winner.uid, False), []).append(pod.name)
    overlaps: dict[str, list[Overlap]] = {policy.uid: [] for policy in valid}
    for (holder, other, governs), pod_names in shared.items():
        overlaps[holder].append(Overlap(names[other], tuple(pod_names), governs))
    return Governance(
        {uid: tuple(found) for uid, found in governed.items()},
        {uid: tuple(sorted(found, key=lambda overlap: overlap.other)) for uid, found in overlaps.items()},
    )
