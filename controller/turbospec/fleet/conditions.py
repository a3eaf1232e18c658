"""Conditions of a policy: every one says in one word how things stand, and in its message what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.engines import EngineStanding
from turbospec.fleet.matching import Overlap
from turbospec.fleet.profiling import ProfileReason, ProfileStanding
from turbospec.fleet.snapshot import Mode, PolicyView

MAX_MESSAGE = 1024
"""Events and the rows of the status take no more; conditions would take four times that, but nobody reads it."""

NAMED_PODS = 3

_BY_URGENCY = (
    "EngineUnsupported",
    "NoCommonDraftTokens",
    "ControlRefused",
    "NotInjected",
    "ProfileInvalid",
    "ProfilingFailed",
    "ProfileMissing",
    "EngineUnreachable",
    "ProfilingInProgress",
    "ProfilingPending",
    "Pending",
    "EngineStarting",
)
"""Which of several reasons a condition shows: first what waits for a person, then what passes by itself."""

_PROFILED_STATUS = {ProfileReason.READY: "True", ProfileReason.NOT_NEEDED: "Unknown"}


@dataclass(frozen=True, slots=True)
class PolicyFindings:
    """All that the conditions of one policy are made of. ``denied`` are the permissions the operator lacks for it."""

    policy: PolicyView
    engines: tuple[EngineStanding, ...]
    profiles: tuple[ProfileStanding, ...]
    overlaps: tuple[Overlap, ...]
    denied: tuple[str, ...]


def conditions(findings: PolicyFindings) -> tuple[ConditionValue, ...]:
    """Profiled, Injected, Controlled, Ready; Exclusive and Permitted only where they are False."""
    controlled = _controlled(findings)
    found = [_profiled(findings, controlled), _injected(findings), controlled]
    if findings.overlaps:
        found.append(ConditionValue("Exclusive", "False", "ConflictingPolicy", _conflict(findings.overlaps)))
    if findings.denied:
        found.append(ConditionValue("Permitted", "False", "PermissionDenied", _denied(findings.denied)))
    found.append(_ready(findings, controlled))
    return tuple(
        ConditionValue(entry.type, entry.status, entry.reason, limited(entry.message))
        for entry in found
        if entry.reason
    )


def limited(message: str) -> str:
    """The message, cut where it exceeds ``MAX_MESSAGE`` characters."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."


def most_urgent(reasons: Iterable[str]) -> str:
    """The reason to show of several; unknown ones come last."""
    return min(
        reasons, key=lambda reason: (_BY_URGENCY.index(reason) if reason in _BY_URGENCY else len(_BY_URGENCY), reason)
    )


def _profiled(findings: PolicyFindings, controlled: ConditionValue) -> ConditionValue:
    if not findings.profiles:
        message = "no engine has reported yet which profile it needs."
        reason = controlled.reason if controlled.status != "True" else "EngineStarting"
        return ConditionValue("Profiled", "Unknown", reason, message)
    order = list(ProfileReason)
    urgency = [
        ProfileReason.INVALID,
        ProfileReason.FAILED,
        ProfileReason.MISSING,
        ProfileReason.IN_PROGRESS,
        ProfileReason.PENDING,
        ProfileReason.READY,
        ProfileReason.NOT_NEEDED,
    ]
    worst = min(findings.profiles, key=lambda standing: (urgency.index(standing.reason), order.index(standing.reason)))
    others = sum(standing.reason is not worst.reason for standing in findings.profiles)
    more = f" ({others} other kinds of engine stand differently)" if others else ""
    status = _PROFILED_STATUS.get(worst.reason, "False")
    return ConditionValue("Profiled", status, worst.reason.value, worst.message + more)


def _injected(findings: PolicyFindings) -> ConditionValue:
    total = len(findings.engines)
    if not total:
        return ConditionValue("Injected", "Unknown", "NoPodsMatched", "no pod to inject into.")
    missing = [standing for standing in findings.engines if not standing.pod.injected]
    if not missing:
        return ConditionValue("Injected", "True", "Injected", f"{total} of {total} pods carry the runtime.")
    return ConditionValue(
        "Injected",
        "False",
        "NotInjected",
        f"{total - len(missing)} of {total} pods carry the runtime. {_explain(missing)}",
    )


def _controlled(findings: PolicyFindings) -> ConditionValue:
    policy, engines = findings.policy, findings.engines
    if policy.invalid is not None:
        return _not_controlled("InvalidSpec", f"the spec was refused: {policy.invalid}")
    if not engines:
        if any(not overlap.governs for overlap in findings.overlaps):
            return _not_controlled("ConflictingPolicy", _conflict(findings.overlaps))
        labels = ",".join(f"{key}={value}" for key, value in policy.match_labels)
        message = (
            f"no pod in namespace {policy.namespace} matches {labels}. Correct spec.selector.matchLabels, or start such pods; "
            f"see kubectl -n {policy.namespace} get pods -l {labels}"
        )
        return _not_controlled("NoPodsMatched", message)
    if policy.mode is not Mode.ENFORCE:
        message = "nothing is pushed; engines keep what they have. Set spec.mode to Enforce to control them."
        return _not_controlled("Paused" if policy.mode is Mode.PAUSED else "Advising", message)
    # Pods that are not Ready yet hold nothing up, unless there are no others.
    counted = [standing for standing in engines if standing.pod.ready] or list(engines)
    failing = [standing for standing in counted if not standing.controlled]
    if failing:
        reason = most_urgent({standing.reason for standing in failing})
        shown = [standing for standing in failing if standing.reason == reason]
        message = f"{len(counted) - len(failing)} of {len(counted)} engines controlled. {_explain(shown)}"
        return _not_controlled(reason, message)
    if not any(standing.pod.ready for standing in counted):
        return _not_controlled("EngineStarting", "engines are controlled, but none of their pods is Ready yet.")
    return ConditionValue("Controlled", "True", "Controlled", f"{len(counted)} of {len(counted)} engines controlled.")


def _ready(findings: PolicyFindings, controlled: ConditionValue) -> ConditionValue:
    if controlled.status == "True":
        return ConditionValue("Ready", "True", "AllEnginesControlled", controlled.message)
    if findings.denied:
        return ConditionValue("Ready", "False", "PermissionDenied", _denied(findings.denied))
    return ConditionValue("Ready", "False", controlled.reason, controlled.message)


def _not_controlled(reason: str, message: str) -> ConditionValue:
    return ConditionValue("Controlled", "False", reason, message)


def _conflict(overlaps: Sequence[Overlap]) -> str:
    said: list[str] = []
    for overlap in overlaps:
        who = (
            "this policy is the older and governs them"
            if overlap.governs
            else "that policy is the older and governs them"
        )
        said.append(f"{_names(overlap.pods)} also selected by SpeculationPolicy {overlap.other}: {who}.")
    return " ".join(said) + " Narrow one of the selectors."


def _denied(denied: Sequence[str]) -> str:
    return f"the operator lacks permissions: {'; '.join(denied)}. Grant them in its ClusterRole (the chart's values under rbac)."


def _explain(standings: Sequence[EngineStanding]) -> str:
    """Every distinct message once, with the pods it is about."""
    pods: dict[str, list[str]] = {}
    for standing in standings:
        pods.setdefault(standing.message, []).append(standing.pod.name)
    return " ".join(f"{_names(names)}: {message}" for message, names in list(pods.items())[:NAMED_PODS])


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_PODS])
    return shown if len(names) <= NAMED_PODS else f"{shown} and {len(names) - NAMED_PODS} more"
