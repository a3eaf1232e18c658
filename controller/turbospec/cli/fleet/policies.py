"""Policies as the commands speak of them: plain facts out of raw objects."""

from collections.abc import Sequence
from typing import Any

from turbospec.cli.fleet.api import Api, Raw, policies_path

ENGINE_FIELDS = (
    "pod",
    "node",
    "controlled",
    "draftTokens",
    "batch",
    "acceptancePercent",
    "profile",
    "reason",
    "message",
)


def condition(policy: Raw, kind: str) -> Raw:
    """One condition of a policy; empty where there is none."""
    found = ((policy.get("status") or {}).get("conditions")) or ()
    return next((each for each in found if each.get("type") == kind), {})


def engines(policy: Raw) -> Sequence[Raw]:
    """The engines in a policy's status."""
    return (policy.get("status") or {}).get("engines") or ()


def summary(policy: Raw) -> dict[str, Any]:
    """What ``status -o json`` says of a policy; stable names, None where it is not known."""
    status, ready = policy.get("status") or {}, condition(policy, "Ready")
    return {
        "namespace": policy["metadata"]["namespace"],
        "name": policy["metadata"]["name"],
        "mode": (policy.get("spec") or {}).get("mode"),
        "pods": status.get("pods"),
        "controlled": status.get("controlled"),
        "draftTokens": status.get("draftTokens"),
        "profile": status.get("profile"),
        "ready": ready.get("status"),
        "reason": ready.get("reason"),
        "message": ready.get("message"),
        "engines": [{field: engine.get(field) for field in ENGINE_FIELDS} for engine in engines(policy)],
    }


def found(api: Api, namespace: str | None, name: str | None = None) -> list[Raw]:
    """One policy, those of a namespace, or (None) those of all, by namespace and name."""
    if name is not None:
        return [api.get(policies_path(namespace, name))]
    listed = api.list(policies_path(namespace))
    return sorted(listed, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"]))
