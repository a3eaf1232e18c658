"""Which policy governs which pod."""

import pytest

from tests.fleet.builders import NOW, conditions, pod, policy, pushes, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.matching import govern, selects


@pytest.mark.parametrize(
    ("labels", "namespace", "want"),
    [
        ({"app": "chat"}, "team", True),
        ({"app": "chat", "tier": "gold"}, "team", True),
        ({"app": "other"}, "team", False),
        ({}, "team", False),
        ({"app": "chat"}, "elsewhere", False),
        ({"app": "chat", "turbospec.io/profiling-key": "00112233445566aa"}, "team", False),
    ],
)
def test_policy_selects_pods_of_its_namespace_with_all_its_labels(
    labels: dict[str, str], namespace: str, want: bool
) -> None:
    """All labels must match; a profiling pod is never selected."""
    assert selects(policy(), pod(labels=tuple(labels.items()), namespace=namespace)) is want


def test_policy_without_labels_selects_nothing() -> None:
    """An empty selector must not take the whole namespace."""
    assert not selects(policy(match_labels=()), pod())


def test_terminating_pods_are_governed_by_nobody() -> None:
    """A draining pod is not pushed to and not counted."""
    assert govern([policy()], [pod(terminating=True)]).pods == {"policy-chat": ()}


@pytest.mark.parametrize("younger_first", [True, False])
def test_older_policy_wins_and_both_say_so(younger_first: bool) -> None:
    """Two policies on one pod: one document, from the older; each names the other."""
    older = policy("older", created_seconds=NOW - 500, draft_tokens=(5,))
    younger = policy("younger", created_seconds=NOW - 100, draft_tokens=(0,))
    both = (younger, older) if younger_first else (older, younger)
    effects, _ = decide(snapshot(policies=both), FleetMemory())
    assert [push.policy_name for push in pushes(effects)] == ["older"]
    of_older, of_younger = conditions(effects, "older"), conditions(effects, "younger")
    assert of_older["Exclusive"].reason == of_younger["Exclusive"].reason == "ConflictingPolicy"
    assert "younger" in of_older["Exclusive"].message
    assert "older" in of_younger["Exclusive"].message
    assert of_younger["Ready"].reason == "ConflictingPolicy"
    assert of_younger["Ready"].status == "False"


def test_policy_that_cannot_be_read_takes_nothing_from_a_younger_one() -> None:
    """An invalid older policy governs nothing, whatever its selector was."""
    broken = policy("broken", created_seconds=NOW - 500, invalid="spec.selector: missing")
    good = policy("good", created_seconds=NOW - 100, draft_tokens=(5,))
    effects, _ = decide(snapshot(policies=(broken, good)), FleetMemory())
    assert [push.policy_name for push in pushes(effects)] == ["good"]
    assert conditions(effects, "broken")["Ready"].reason == "InvalidSpec"
    assert "spec.selector: missing" in conditions(effects, "broken")["Ready"].message
    assert "Exclusive" not in conditions(effects, "good")


def test_equal_age_is_decided_by_name() -> None:
    """Two policies made in the same second are told apart the same way every time."""
    first, second = policy("a"), policy("b")
    assert govern([second, first], [pod()]).pods["policy-a"] == (pod(),)
