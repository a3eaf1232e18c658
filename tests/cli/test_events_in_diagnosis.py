"""`diagnose` reads events: what failed lately around our objects, once each, and what to do."""

import datetime as dt
import json
from typing import Any

import pytest

from tests.cli.fleet_samples import CODE, EVENTS, POLICIES, SYSTEM_EVENTS, golden, run
from tests.cli.recorded_api import RecordedApi
from turbospec.cli.fleet.events import warnings

Raw = dict[str, Any]
NOW = dt.datetime.now(dt.UTC)


def event(kind: str, name: str, reason: str, message: str = "so it is", *, minutes: float = 1, **fields: Any) -> Raw:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": kind, "name": name, "namespace": "team"},
        "lastTimestamp": (NOW - dt.timedelta(minutes=minutes)).isoformat(),
        **fields,
    }


def test_what_failed_lately_is_a_notice_with_a_remedy(fleet_api: RecordedApi) -> None:
    """In the namespace of the policies and in TurboSpec's own; what was is no problem, so the exit status is 0."""
    fleet_api.answers[POLICIES] = {"items": [CODE]}
    room = "0/3 nodes are available:\n 3 Insufficient nvidia.com/gpu."
    fleet_api.answers[EVENTS] = {
        "items": [
            event("Pod", "code-1", "BackOff", "Back-off restarting failed container", count=7),
            event("Pod", "turbospec-profile-0ff1c5dcc8b54597-x", "FailedScheduling", room),
            event("Pod", "turbospec-profile-0ff1c5dcc8b54597-x", "FailedScheduling", "an older one", minutes=9),
            event("Pod", "somebody-elses", "BackOff"),
        ]
    }
    home = {"kind": "ReplicaSet", "name": "turbospec-operator-5d4", "namespace": "turbospec-system"}
    refused = event("", "", "FailedCreate", "exceeded quota") | {"involvedObject": home}
    fleet_api.answers[SYSTEM_EVENTS] = {"items": [refused]}
    golden("diagnose-events", run("diagnose"))
    assert len(json.loads(run("diagnose", "-o", "json").stdout)["findings"]) == 3


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (event("SpeculationPolicy", "chat", "EffectFailed"), True),
        (event("SpeculationPolicy", "chat", "ControlRefused"), False),
        (event("Job", "turbospec-profile-1", "BackoffLimitExceeded"), True),
        (event("Pod", "chat-1", "FailedMount"), True),
        (event("Pod", "chat-1", "Unhealthy"), False),
        (event("Pod", "chat-2", "FailedMount"), False),
        (event("Pod", "chat-1", "FailedMount", minutes=61), False),
        (event("Pod", "chat-1", "Pulled") | {"type": "Normal"}, False),
        (event("Pod", "chat-1", "FailedMount") | {"lastTimestamp": None}, False),
        (event("Pod", "chat-1", "FailedMount") | {"lastTimestamp": None, "eventTime": NOW.isoformat()}, True),
        (
            event("Pod", "chat-1", "FailedMount", minutes=99)
            | {"series": {"count": 3, "lastObservedTime": NOW.isoformat()}},
            True,
        ),
    ],
)
def test_what_is_ours_new_and_not_said_yet_is_told(raw: Raw, found: bool) -> None:
    """Conditions say what holds; events of policies repeat it."""
    assert bool(list(warnings([raw], {"chat-1"}, {"ControlRefused"}, NOW))) is found


def test_the_same_is_told_once_with_its_count_and_latest_message() -> None:
    """Messages that differ make events of their own."""
    raws = [event("Pod", "chat-1", "Failed", f"try {n}", minutes=n, count=2) for n in (3, 1, 2)]
    (finding,) = warnings(raws, {"chat-1"}, set(), NOW)
    assert finding.what == "Failed (6 times): try 1"


def test_events_that_the_user_may_not_see_are_a_notice(fleet_api: RecordedApi) -> None:
    """And the rest is looked at."""
    fleet_api.answers[POLICIES] = {"items": [CODE]}
    fleet_api.forbidden = {EVENTS}
    result = run("diagnose")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("your permissions") == 1
