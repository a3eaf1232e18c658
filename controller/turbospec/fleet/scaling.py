"""Who scales which pods, and how far each pod is on its way in or out."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from turbospec.fleet.autoscalers import AutoscalerView, ForeignAutoscaler
from turbospec.fleet.foreign import foreign_autoscaler
from turbospec.fleet.snapshot import PodView

WARM_SECONDS = 60.0
"""A pod that has been Ready for less is still filling its caches: its steps say little of the ones to come."""

_TERM = re.compile(r"\s*(!?)\s*([^\s,!=()]+)\s*(?:(==|=|!=)\s*([^\s,()]*)|\s(in|notin)\s*\(([^)]*)\))?\s*(?:,|$)")


class PodStage(StrEnum):
    """Where a pod is on its way from being created to being gone."""

    PENDING = "Pending"
    """No node yet."""
    STARTING = "Starting"
    """On a node, not Ready."""
    WARMING = "Warming"
    """Ready for less than ``WARM_SECONDS``: serves like others, but its step times are no evidence."""
    SERVING = "Serving"
    DRAINING = "Draining"
    """Terminating, and still at work on requests."""
    TERMINATING = "Terminating"


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """What one set of replicas is: its pods by stage, and the autoscalers that decide on their number.

    ``foreign`` scales it otherwise, where that can be seen.
    """

    namespace: str
    name: str
    pods: tuple[tuple[PodView, PodStage], ...]
    autoscalers: tuple[AutoscalerView, ...] = ()
    foreign: ForeignAutoscaler | None = None

    def count(self, *stages: PodStage) -> int:
        """Pods in these stages."""
        return sum(stage in stages for _, stage in self.pods)


def stage_of(pod: PodView, now_seconds: float) -> PodStage:
    """The pod's stage now."""
    if pod.terminating:
        return PodStage.DRAINING if pod.report is not None and pod.report.running > 0 else PodStage.TERMINATING
    if not pod.ready:
        return PodStage.PENDING if pod.node is None else PodStage.STARTING
    since = pod.ready_since_seconds
    # A pod that seems to be Ready only in an hour is of another clock.
    warm = since is None or abs(now_seconds - since) >= WARM_SECONDS
    return PodStage.SERVING if warm else PodStage.WARMING


def scale_targets(
    pods: Iterable[PodView],
    autoscalers: Iterable[AutoscalerView],
    now_seconds: float,
    foreign: Sequence[ForeignAutoscaler] = (),
) -> Mapping[tuple[str, str], ScaleTarget]:
    """Every pod's scale target, by (namespace, ``kind/name``).

    A pod belongs to the autoscaler whose target's selector matches it, whatever kind that is; to its owner where none
    does.
    """
    linked = sorted(autoscalers, key=lambda entry: (entry.namespace, entry.name))
    matchers = [(entry, _matcher(entry.selector)) for entry in linked]
    grouped: dict[tuple[str, str], list[PodView]] = {}
    owners: dict[tuple[str, str], list[AutoscalerView]] = {}
    for pod in sorted(pods, key=lambda pod: (pod.namespace, pod.name, pod.uid)):
        labels = dict(pod.labels)
        name = owner_name(pod)
        deciding = [
            entry
            for entry, matches in matchers
            if entry.namespace == pod.namespace and (matches(labels) if matches is not None else entry.target == name)
        ]
        place = (pod.namespace, deciding[0].target if deciding else name)
        grouped.setdefault(place, []).append(pod)
        known = owners.setdefault(place, [])
        known.extend(entry for entry in deciding if entry not in known)
    return {
        place: ScaleTarget(
            *place,
            tuple((pod, stage_of(pod, now_seconds)) for pod in found),
            tuple(owners[place]),
            foreign_autoscaler(*place, found, foreign),
        )
        for place, found in grouped.items()
    }


def belongs(pod: PodView, target: str, selector: str | None) -> bool:
    """Whether the pod is one of this scale target's, by its selector, where that is known and can be read, or else by
    its owner."""
    matches = _matcher(selector)
    return matches(dict(pod.labels)) if matches is not None else target == owner_name(pod)


def owner_name(pod: PodView) -> str:
    """What a pod that no autoscaler selects is a replica of."""
    return pod.owner or pod.controller or f"pod/{pod.name}"


def targets_by_pod(targets: Mapping[tuple[str, str], ScaleTarget]) -> Mapping[str, str]:
    """The name of every pod's scale target, by the pod's uid."""
    return {pod.uid: target.name for target in targets.values() for pod, _ in target.pods}


def _matcher(selector: str | None) -> Callable[[Mapping[str, str]], bool] | None:
    """A predicate on labels; None for a selector that is unknown, empty (it would select everything) or unreadable."""
    if selector is None or not selector.strip():
        return None
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    at = 0
    while at < len(selector):
        term = _TERM.match(selector, at)
        if term is None or term.end() == at:
            return None
        at = term.end()
        absent, key, operator, value, membership, members = term.groups()
        if operator is not None:
            tests.append(_among(key, {value}, operator != "!="))
        elif membership is not None:
            tests.append(_among(key, {member.strip() for member in members.split(",")}, membership == "in"))
        else:
            tests.append(_present(key, not absent))
    return lambda labels: all(test(labels) for test in tests)


def _among(key: str, values: set[str], wanted: bool) -> Callable[[Mapping[str, str]], bool]:
    """As Kubernetes has it, a label that is not there differs from every value."""
    return lambda labels: (labels.get(key) in values) is wanted


def _present(key: str, wanted: bool) -> Callable[[Mapping[str, str]], bool]:
    return lambda labels: (key in labels) is wanted
