"""What counts as an engine that ended before its pod was ever Ready."""

from typing import Any

import pytest

from turbospec_operator.pod_failures import failed_start

START, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error"}}

Raw = dict[str, Any]


def pod(
    *, ready: str = "False", since: str = START, phase: str = "Running", name: str = "vllm", **container: Any
) -> Raw:
    """A pod with one container's status."""
    return {
        "status": {
            "phase": phase,
            "startTime": START,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
            "containerStatuses": [{"name": name, **container}],
        }
    }


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=CRASHED), "Error, exit code 1"),
        (pod(state={"running": {}}, lastState=CRASHED), "Error, exit code 1"),
        (pod(state=CRASHED), "Error, exit code 1"),
        (pod(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "OOMKilled, exit code 137"),
        (pod(phase="Pending", state={"waiting": {"reason": "RunContainerError"}}), "RunContainerError"),
        (pod(state={"running": {}}), None),
        (pod(state={"waiting": {"reason": "ImagePullBackOff"}}), None),
        (pod(state={"terminated": {"exitCode": 0}}), None),
        (pod(ready="True", state={"running": {}}, lastState=CRASHED), None),
        (pod(since=LATER, state={"running": {}}, lastState=CRASHED), None),
        (pod(phase="Failed", state=CRASHED), None),
        (pod(name="proxy", state=CRASHED), None),
        ({"status": {"phase": "Running", "containerStatuses": [{"name": "vllm", "state": CRASHED}]}}, None),
        ({}, None),
    ],
    ids=[
        "crash loop", "between two crashes", "just crashed", "out of memory", "cannot run", "starting", "no image",
        "ended on request", "recovered", "was Ready before", "evicted", "another container", "nothing known", "new",
    ],
)  # fmt: skip
def test_only_what_certainly_was_never_ready_counts(raw: Raw, said: str | None) -> None:
    """By the pod's own status, so that a restarted operator judges alike."""
    assert failed_start(raw, "vllm") == said
