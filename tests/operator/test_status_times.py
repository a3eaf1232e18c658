"""Statuses: condition times follow the API conventions, and what has not changed is not written."""

from dataclasses import replace
from typing import Any

import pytest

from turbospec.fleet.effects import ConditionValue, EmitEvent, EngineAddress, EngineSummary, SetPolicyStatus
from turbospec_operator.manifests import event, policy_status, status_patch, timestamp

EARLIER, LATER = 1_700_000_000.0, 1_700_000_100.5


def effect(status: str = "True", reason: str = "AllWell", *, generation: int = 1) -> SetPolicyStatus:
    """A status with one condition and one engine."""
    return SetPolicyStatus(
        namespace="shop",
        name="chat",
        uid="uid-1",
        observed_generation=generation,
        conditions=(ConditionValue("Ready", status, reason, "it is so"),),
        pods=1,
        controlled=1,
        profile=None,
        draft_tokens="3",
        engines=(EngineSummary("chat-1", "node-1", True, 3, 1, 80, None, "Controlled", ""),),
    )


def written(first: SetPolicyStatus, second: SetPolicyStatus) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both statuses, the second over the first."""
    before = policy_status(first, {}, EARLIER)
    return before, policy_status(second, before, LATER)


@pytest.mark.parametrize(
    ("second", "moved"),
    [
        (effect("True", "AllWell"), False),
        (effect("True", "OtherReason"), False),
        (effect("True", "AllWell", generation=2), False),
        (effect("False", "AllWell"), True),
        (effect("Unknown", "AllWell"), True),
    ],
)
def test_a_transition_time_moves_exactly_when_the_status_changes(second: SetPolicyStatus, moved: bool) -> None:
    """Neither a new reason nor a new generation is a transition."""
    _, after = written(effect(), second)
    assert after["conditions"][0]["lastTransitionTime"] == timestamp(LATER if moved else EARLIER)
    assert after["conditions"][0]["observedGeneration"] == second.observed_generation


def test_an_unchanged_status_is_not_written() -> None:
    """No patch, so no watch event, so no round for nothing."""
    before, after = written(effect(), effect())
    assert status_patch(after, before) is None


def test_a_field_that_is_gone_is_removed() -> None:
    """A merge patch keeps what it does not name."""
    current = {**policy_status(effect(), {}, EARLIER), "profile": "profile-old"}
    patch = status_patch(policy_status(effect(), current, LATER), current)
    assert patch is not None
    assert patch["status"]["profile"] is None


def test_timestamps_are_whole_seconds_in_utc() -> None:
    """As the API server writes them."""
    assert timestamp(LATER) == "2023-11-14T22:15:00Z"


def test_an_event_is_about_the_policy_or_about_a_pod_with_the_policy_beside_it() -> None:
    """kubectl describe shows events of the object that they are about."""
    effect = EmitEvent("shop", "chat", "uid-1", "Warning", "OutlierStepTimes", "slow")
    plain = event(effect, "operator-1", LATER)
    assert (plain["regarding"]["kind"], plain["regarding"]["name"]) == ("SpeculationPolicy", "chat")
    assert "related" not in plain
    of_pod = event(replace(effect, regarding=EngineAddress("shop", "chat-0", "pod-1")), "operator-1", LATER)
    assert of_pod["regarding"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "shop",
        "name": "chat-0",
        "uid": "pod-1",
    }
    assert of_pod["related"] == plain["regarding"]
    assert of_pod["metadata"]["name"].startswith("chat-0.")


def test_what_is_said_of_a_pod_has_one_name_whoever_says_it_again() -> None:
    """So an operator that restarts makes no second event of it; of a policy, each change of reason makes one."""
    about = EmitEvent(
        "shop", "chat", "uid-1", "Warning", "OutlierStepTimes", "slow", EngineAddress("shop", "a", "pod-1")
    )

    def name(effect: EmitEvent, instance: str = "operator-1", seconds: float = LATER) -> str:
        return str(event(effect, instance, seconds)["metadata"]["name"])

    assert name(about) == name(replace(about, message="slower"), "operator-2", LATER + 60)
    others = {
        name(replace(about, reason="Other")),
        name(replace(about, regarding=EngineAddress("shop", "a", "pod-2"))),
        name(replace(about, regarding=None)),
        name(replace(about, regarding=None)),
    }
    assert len(others - {name(about)}) == 4
