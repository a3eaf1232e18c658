"""Which autoscaler decides on which pods, and how far each pod is on its way."""

from typing import Any

import pytest

from tests.fleet.builders import NOW, pod, report
from tests.fleet.scaling_builders import hpa
from turbospec.fleet.scaling import WARM_SECONDS, PodStage, scale_targets, stage_of, targets_by_pod

LABELS = (("app", "chat"), ("tier", "gold"))


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"ready": False, "node": None}, PodStage.PENDING),
        ({"ready": False}, PodStage.STARTING),
        ({"ready_since_seconds": NOW - WARM_SECONDS + 1}, PodStage.WARMING),
        ({"ready_since_seconds": NOW - WARM_SECONDS}, PodStage.SERVING),
        ({"ready_since_seconds": None}, PodStage.SERVING),
        # By another clock, which is ahead of this one.
        ({"ready_since_seconds": NOW + WARM_SECONDS - 1}, PodStage.WARMING),
        ({"ready_since_seconds": NOW + 3600}, PodStage.SERVING),
        ({"terminating": True}, PodStage.DRAINING),
        ({"terminating": True, "report": report(running=0)}, PodStage.TERMINATING),
        ({"terminating": True, "report": None}, PodStage.TERMINATING),
    ],
)
def test_a_pod_has_one_stage(changes: dict[str, Any], stage: PodStage) -> None:
    assert stage_of(pod(**changes), NOW) is stage


@pytest.mark.parametrize(
    ("selector", "belongs"),
    [
        ("app=chat", True),
        ("app==chat,tier=gold", True),
        ("app=chat, tier!=gold", False),
        ("tier in (silver, gold)", True),
        ("tier notin (silver,gold),app=chat", False),
        ("app,!canary", True),
        ("!app", False),
        ("canary!=yes", True),
        ("app=other", False),
    ],
)
def test_the_selector_of_the_scale_decides_whatever_the_kind(selector: str, belongs: bool) -> None:
    """A LeaderWorkerSet's leaders are owned by a StatefulSet; only the selector leads from one to the other."""
    leader = pod(labels=LABELS, owner="statefulset/chat")
    scaler = hpa(target="leaderworkerset/chat", selector=selector)
    named = targets_by_pod(scale_targets([leader], [scaler], NOW))[leader.uid]
    assert named == ("leaderworkerset/chat" if belongs else "statefulset/chat")


@pytest.mark.parametrize("selector", [None, "", "app=chat)(", "=", ",,"])
def test_without_a_selector_that_can_be_read_the_owner_decides(selector: str | None) -> None:
    """An empty selector would select everything."""
    named = scale_targets([pod(), pod("other", owner="deployment/other")], [hpa(selector=selector)], NOW)
    assert {name: len(target.autoscalers) for (_, name), target in named.items()} == {
        "deployment/chat": 1,
        "deployment/other": 0,
    }


def test_autoscalers_of_another_namespace_decide_on_nothing_here() -> None:
    (target,) = scale_targets([pod()], [hpa(namespace="other")], NOW).values()
    assert target.autoscalers == ()


def test_pods_without_an_autoscaler_belong_to_their_owner_or_stand_alone() -> None:
    pods = [pod("a"), pod("b", owner=None, controller="raycluster/r"), pod("c", owner=None)]
    names = targets_by_pod(scale_targets(pods, [], NOW))
    assert list(names.values()) == ["deployment/chat", "raycluster/r", "pod/c"]


@pytest.mark.parametrize(
    ("label", "system"),
    [
        ("serving.knative.dev/revision", "Knative"),
        ("ray.io/cluster", "Ray Serve"),
        ("nvidia.com/dynamo-namespace", "Dynamo's planner"),
        ("app", None),
    ],
)
def test_systems_that_scale_without_an_hpa_are_recognised_by_their_labels(label: str, system: str | None) -> None:
    (target,) = scale_targets([pod(labels=((label, "x"),))], [], NOW).values()
    assert (target.foreign and target.foreign.system) == system
