"""Statuses as a real kube-controller-manager wrote them, one after the other, and the words that they become.

Recorded at Kubernetes 1.34 with ``examples/autoscaling/hpa-external.yaml``, a sync of half a second, two seconds of
stabilisation on the way down and pods that take 1.5 s to be Ready: every change of an autoscaler or a pod is a row.
"""

import json
from itertools import groupby
from pathlib import Path

import pytest

from turbospec.fleet.scale_events import ScaleEvent, ScaleState, classify
from turbospec.fleet.scaling import scale_targets
from turbospec.fleet.snapshot import PodView
from turbospec_operator.autoscaler_views import autoscaler_view

RECORDED = Path(__file__).parent / "recorded_autoscalers"
NOW = 1_800_000_000.0


STEADY, UP, COMING = ScaleState.STEADY, ScaleState.UP_IMMINENT, ScaleState.UP_UNDER_WAY
HELD, DOWN, UNKNOWN = ScaleState.HELD_DOWN, ScaleState.DOWN_UNDER_WAY, ScaleState.UNKNOWN


def pods(letters: str) -> list[PodView]:
    """R is Ready, S starts, T terminates; all are seconds old."""
    return [
        PodView(
            namespace="team",
            name=f"chat-{number}",
            uid=f"chat-{number}",
            node="node",
            labels=(("app", "chat"),),
            owner="deployment/chat",
            ready=letter == "R",
            terminating=letter == "T",
            injected=True,
            created_seconds=NOW - 2.0,
        )
        for number, letter in enumerate(letters)
    ]


def events(name: str) -> list[ScaleEvent]:
    """One for each row of a recording that has pods."""
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    found = []
    for row in recorded["rows"]:
        scalers = []
        for scaler, status in row["autoscalers"].items():
            named = {"namespace": "team", "name": scaler}
            raw = {"metadata": named, "spec": recorded["specs"][scaler], "status": status}
            scalers.append(autoscaler_view(raw, "app=chat", None))
        found += [classify(target, NOW) for target in scale_targets(pods(row["pods"]), scalers, NOW).values()]
    return found


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("ramp", [UNKNOWN, STEADY, COMING, UP, STEADY, HELD, DOWN, STEADY]),
        ("lost-metric", [UNKNOWN, STEADY, UNKNOWN, STEADY]),
        ("surge-beyond-the-maximum", [UNKNOWN, STEADY, COMING, STEADY, UNKNOWN, DOWN, STEADY]),
        ("to-zero-and-back", [UNKNOWN, STEADY, DOWN, COMING, UNKNOWN, STEADY]),
        ("two-autoscalers", [UNKNOWN, STEADY, UNKNOWN]),
        ("target-deleted", [UNKNOWN, STEADY, UNKNOWN]),
        ("fixed", [STEADY]),
    ],
)
def test_what_the_controller_wrote_becomes_these_words(name: str, states: list[ScaleState]) -> None:
    """The first row of each: no metric yet, and nought desired, which is no wish for nought.

    When the pods of a ramp are Ready the status holds the metric from before, for a sync: then more seem to be about to
    come.
    """
    assert [state for state, _ in groupby(event.state for event in events(name))] == states


def test_nobody_is_thought_to_want_no_pods_for_want_of_a_metric() -> None:
    """``desiredReplicas`` is 0 in the rows where the controller had nothing to decide on."""
    for name in ("ramp", "lost-metric", "to-zero-and-back", "two-autoscalers"):
        assert all(event.replicas != 0 or event.state is not DOWN for event in events(name)[:2])


def test_two_that_the_controller_finds_ambiguous_are_two_here() -> None:
    """``AmbiguousSelector``: it has stopped both."""
    assert events("two-autoscalers")[-1].reason == "SeveralAutoscalers"
