"""Whether a pod's engine ended before the pod was ever Ready, by the pod's status alone."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

Raw = Mapping[str, Any]

FIRST_STATUS_SECONDS = 2.0
"""The kubelet writes Ready=False with the pod's first status. A transition later than that, to False, came from True;
times are in whole seconds, and written within one of each other."""

_CANNOT_RUN = frozenset({"RunContainerError", "CreateContainerError"})
"""Reasons to wait that injection could have caused; an image that cannot be pulled is none."""


def failed_start(pod: Raw, container: str | None) -> str | None:
    """How the engine's container ended, in a few words; None where it has not, or where the pod has been Ready before.

    A pod that ended on request (exit code 0) or was evicted has not failed.
    """
    status: Raw = pod.get("status") or {}
    if status.get("phase") not in ("Pending", "Running") or _was_ready(status):
        return None
    for each in status.get("containerStatuses") or ():
        if each.get("name") == container:
            return _ended(each)
    return None


def _ended(status: Raw) -> str | None:
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        ended = state.get("terminated")
        if ended and ended.get("exitCode") != 0:
            return f"{ended.get('reason') or 'Error'}, exit code {ended.get('exitCode')}"
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in _CANNOT_RUN:
            return str(waiting["reason"])
    return None


def _was_ready(status: Raw) -> bool:
    """Also where it cannot be told: only what certainly never was Ready counts as a failed start."""
    for condition in status.get("conditions") or ():
        if condition.get("type") != "Ready":
            continue
        since, started = _time(condition.get("lastTransitionTime")), _time(status.get("startTime"))
        if condition.get("status") != "False" or since is None or started is None:
            return True
        return (since - started).total_seconds() > FIRST_STATUS_SECONDS
    return True


def _time(text: object) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
