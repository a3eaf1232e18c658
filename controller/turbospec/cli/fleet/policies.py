"""Policies as the commands speak of them: plain facts out of raw objects."""

from collections.abc import Sequence
from typing import Any

from turbospec.cli.errors import CommandError
from turbospec.cli.fleet.api import Api, MissingError, Raw, policies_path

ENGINE_FIELDS = (
    "pod",
    "node",
    "controlled",
    "draftTokens",
    "batch",
    "acceptancePercent",
    "profile",
    "hardware",
    "tokensPerSecond",
    "reason",
    "message",
)


def condition(policy: Raw, kind: str) -> Raw:
    """One condition of a policy; empty where there is none."""
    return next((each for each in conditions(policy) if each.get("type") == kind), {})


def conditions(policy: Raw) -> Sequence[Raw]:
    """The conditions in a policy's status."""
    return (policy.get("status") or {}).get("conditions") or ()


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
        "advice": status.get("advice"),
        "adviceMessage": condition(policy, "Advised").get("message"),
        "worthMessage": condition(policy, "Worthwhile").get("message"),
        "scaleTargets": status.get("scaleTargets") or [],
        "engines": [{field: engine.get(field) for field in ENGINE_FIELDS} for engine in engines(policy)],
    }


def found(api: Api, namespace: str | None, name: str | None = None) -> list[Raw]:
    """One policy, those of a namespace, or (None) those of all, by namespace and name."""
    if name is not None:
        return [api.get(policies_path(namespace, name))]
    listed = api.list(policies_path(namespace))
    return sorted(listed, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"]))


def named_engines(api: Api, namespace: str, name: str) -> Sequence[tuple[Raw, Raw]]:
    """(policy, engine) for every engine that NAME, pod/NAME or policy/NAME means; CommandError where there is none."""
    kind, _, rest = name.rpartition("/")
    if kind not in ("", "pod", "po", "policy", "specpol", "speculationpolicy"):
        raise CommandError(f"{kind} is neither pod nor policy: write pod/{rest} or policy/{rest}")
    if kind not in ("pod", "po"):
        try:
            (policy,) = found(api, namespace, rest)
        except MissingError:
            if kind:
                raise
        else:
            rows = [(policy, engine) for engine in engines(policy)]
            if rows:
                return rows
            said = condition(policy, "Ready").get("message") or "the operator has not looked at it yet"
            raise CommandError(f"policy {rest} governs no engine: {said}")
    for policy in found(api, namespace):
        for engine in engines(policy):
            if engine["pod"] == rest:
                return [(policy, engine)]
    raise CommandError(
        f"no policy's status in namespace {namespace} names {rest}; see: kubectl turbospec status -n {namespace}"
    )
