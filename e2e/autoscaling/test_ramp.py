"""Load that rises and falls again, on real Kubernetes: replicas follow it and K follows replicas. Ten minutes."""

import pytest

from e2e.autoscaling.conftest import RAMP, Ramp
from e2e.autoscaling.open_load import expected_requests
from e2e.demo.kube import condition

pytestmark = pytest.mark.timeout(1500)

OSCILLATION_SECONDS = 120.0
IDLE, BUSY = 0.5, 0.75
"""Ratios of pods with few requests and of pods with many."""


def test_replicas_follow_the_load_up_and_down_again(ramp: Ramp) -> None:
    """One way up and one way down."""
    replicas = [count for _, count in ramp.recording.changes()]
    most = max(replicas)
    assert replicas[0] == replicas[-1] == 1
    assert most >= 3
    assert replicas == sorted(replicas[: replicas.index(most)]) + sorted(replicas[replicas.index(most) :], reverse=True)


def test_replicas_never_go_back_within_two_minutes(ramp: Ramp) -> None:
    """A -> B -> A."""
    changes = ramp.recording.changes()
    turns = [c[0] - b[0] for a, b, c in zip(changes, changes[1:], changes[2:], strict=False) if a[1] == c[1]]
    assert not [seconds for seconds in turns if seconds < OSCILLATION_SECONDS]


def test_pods_come_before_the_load_is_more_than_they_can_do_for_long(ramp: Ramp) -> None:
    """Where load has stopped rising, the ratio is within the autoscaler's tolerance of its target, or below."""
    (top_begins, _), (top_ends, _) = RAMP[2:4]
    settled = [each.ratio for each in ramp.recording.moments if (top_begins + top_ends) / 2 <= each.second < top_ends]
    known = [ratio for ratio in settled if ratio is not None]
    assert known
    assert sum(known) / len(known) <= 0.88


def test_k_follows_the_load_of_the_pods(ramp: Ramp) -> None:
    """Longer drafts where pods have few requests, shorter ones where they have many."""
    recording = ramp.recording
    idle = recording.mean_draft_tokens(lambda each: each.ratio is not None and each.ratio < IDLE)
    busy = recording.mean_draft_tokens(lambda each: each.ratio is not None and each.ratio > BUSY)
    assert idle >= busy + 0.5


def test_no_request_fails(ramp: Ramp) -> None:
    """Neither of pods that come nor of pods that go."""
    answered = ramp.recording.answered
    assert answered.failed == 0, answered.error
    assert answered.completed == answered.sent
    assert answered.sent == pytest.approx(expected_requests(RAMP), rel=0.1)


def test_the_policy_says_that_what_scales_its_pods_is_not_moved_by_k(ramp: Ramp) -> None:
    """ScalingCompatible, of a real autoscaler."""
    found = condition(ramp.policy, "ScalingCompatible")
    assert found
    assert (found["status"], found["reason"]) == ("True", "SpeculationNeutral")
