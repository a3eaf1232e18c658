"""The status of a policy, and when it is written: changes at once, numbers that always move slowly."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from turbospec.fleet.conditions import PolicyFindings, conditions, limited
from turbospec.fleet.effects import ConditionValue, EngineSummary, SetPolicyStatus, TableRange
from turbospec.fleet.memory import PolicyMemory
from turbospec.fleet.snapshot import PolicyView
from turbospec.fleet.standing import EngineStanding
from turbospec.fleet.worthwhile import summary

MAX_ENGINES = 64
"""Rows in a status: the bound of the custom resource."""

MAX_TARGETS = 16
"""Scale targets in a status: the bound of the custom resource."""

MAX_RANGES = 32
"""Ranges of batches in a row: the bound of the custom resource."""

REFRESH_SECONDS = 10.0
"""How often K, batch, acceptance and messages are brought up to date: more would only load the API server."""


def policy_status(findings: PolicyFindings) -> SetPolicyStatus:
    """The whole status. Where there are more engines than rows, those that are not controlled come first."""
    policy, engines = findings.policy, findings.engines
    shown = sorted(engines, key=lambda standing: (standing.controlled, standing.pod.name))[:MAX_ENGINES]
    return SetPolicyStatus(
        namespace=policy.namespace,
        name=policy.name,
        uid=policy.uid,
        observed_generation=policy.generation,
        conditions=conditions(findings),
        pods=len(engines),
        controlled=sum(standing.controlled for standing in engines),
        profile=_profile_summary(standing.profile for standing in findings.profiles),
        draft_tokens=_draft_tokens_summary(engines),
        engines=tuple(_row(standing) for standing in sorted(shown, key=lambda standing: standing.pod.name)),
        stopped=findings.stopped,
        advice=None if findings.advice is None else findings.advice.summary,
        variants=findings.variants,
        targets=tuple(summary(each) for each in findings.values[:MAX_TARGETS]),
    )


def is_due(status: SetPolicyStatus, known: PolicyMemory | None, policy: PolicyView, now_seconds: float) -> bool:
    """Whether to write: never written, changed, or numbers out of date, or a write that has not arrived."""
    if known is None or _settled(status) != _settled(known.status):
        return True
    if now_seconds - known.seconds < REFRESH_SECONDS:
        return False
    arrived = {(condition.type, condition.reason) for condition in status.conditions} == set(policy.reported)
    return status != known.status or not arrived


def _settled(status: SetPolicyStatus) -> SetPolicyStatus:
    """The status without what moves all the time."""
    return replace(
        status,
        conditions=tuple(ConditionValue(entry.type, entry.status, entry.reason, "") for entry in status.conditions),
        draft_tokens=None,
        variants=tuple(replace(row, message="") for row in status.variants),
        targets=tuple(replace(row, saved_percent=None) for row in status.targets),
        engines=tuple(
            replace(
                row,
                draft_tokens=None,
                batch=None,
                acceptance_percent=None,
                message="",
                decision=None,
                tokens_per_second=None,
                schedule=(),
            )
            for row in status.engines
        ),
    )


def _row(standing: EngineStanding) -> EngineSummary:
    pod, report = standing.pod, standing.pod.report
    acceptance = report.acceptance[0] if report is not None and report.acceptance else None
    return EngineSummary(
        pod=pod.name,
        node=pod.node,
        controlled=standing.controlled,
        draft_tokens=None if report is None else report.draft_tokens,
        batch=None if report is None else report.running,
        acceptance_percent=None if acceptance is None else round(100 * acceptance),
        profile=standing.profile,
        reason=standing.reason,
        message=limited(standing.message),
        decision=None if report is None else report.decision,
        hardware=None if report is None or report.identity is None else report.identity.hardware,
        tokens_per_second=None
        if report is None or report.tokens_per_second is None
        else round(report.tokens_per_second),
        schedule=() if report is None else merged(report.table)[:MAX_RANGES],
    )


def merged(table: Sequence[TableRange]) -> tuple[TableRange, ...]:
    """The same K by batch in as few ranges as there can be."""
    found: list[TableRange] = []
    for row in table:
        if found and found[-1].draft_tokens == row.draft_tokens and found[-1].to_batch + 1 == row.from_batch:
            found[-1] = replace(found[-1], to_batch=row.to_batch)
        else:
            found.append(row)
    return tuple(found)


def _profile_summary(names: Iterable[str | None]) -> str | None:
    known = sorted({name for name in names if name is not None})
    if not known:
        return None
    return known[0] if len(known) == 1 else f"{known[0]} +{len(known) - 1}"


def _draft_tokens_summary(engines: Sequence[EngineStanding]) -> str | None:
    """K in use: one value, or the range over the engines."""
    values = {
        standing.pod.report.draft_tokens
        for standing in engines
        if standing.pod.report is not None and standing.pod.report.draft_tokens is not None
    }
    if not values:
        return None
    return str(min(values)) if len(values) == 1 else f"{min(values)}-{max(values)}"
