"""Events: one for every condition whose reason has changed, none for what was already said."""

from turbospec.fleet.effects import ConditionValue, EmitEvent, SetPolicyStatus
from turbospec.fleet.memory import PolicyMemory
from turbospec.fleet.snapshot import PolicyView

_NORMAL_REASONS = frozenset(
    {
        "Advising",
        "AutoscalerUnrecognised",
        "EngineStarting",
        "ErrorUnknown",
        "GainUnknown",
        "HistoryPending",
        "HistoryTooShort",
        "JobsForbidden",
        "MetricNotRecognised",
        "NotJudged",
        "NotNeeded",
        "Paused",
        "Pending",
        "PlainNotMeasured",
        "ProfileProvisional",
        "ProfilingInProgress",
        "ProfileGrowing",
        "ProfilingPending",
        "QueryPending",
        "StartedPlain",
        "StepTimesInDoubt",
        "WorthPending",
        "WorthUnclear",
        "WorthUnknown",
    }
)
"""Conditions that are not True for reasons that need nobody."""


def events(status: SetPolicyStatus, known: PolicyMemory | None, policy: PolicyView) -> tuple[EmitEvent, ...]:
    """Events for this round. After a restart, what the resource's own status says is what was already said.

    Two conditions with one new reason make one event.
    """
    said = dict(policy.reported)
    if known is not None:
        said = {condition.type: condition.reason for condition in known.status.conditions}
    changed: dict[str, ConditionValue] = {}
    # Where a condition is Unknown, another one with the same reason explains why.
    for condition in sorted(status.conditions, key=lambda entry: entry.status == "Unknown"):
        if said.get(condition.type) != condition.reason and condition.reason not in changed:
            changed[condition.reason] = condition
    return tuple(
        EmitEvent(policy.namespace, policy.name, policy.uid, _event_type(condition), reason, condition.message)
        for reason, condition in changed.items()
    )


def _event_type(condition: ConditionValue) -> str:
    return "Normal" if condition.status == "True" or condition.reason in _NORMAL_REASONS else "Warning"
