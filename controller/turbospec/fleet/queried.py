"""Demand that somebody else counts: the answer to a policy's PromQL query, and whether it can be used."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from turbospec.fleet.demand import Demand, DemandMemory
from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.prometheus_answers import QueriedDemand
from turbospec.fleet.snapshot import PolicyView

CONDITION = "DemandKnown"

OLDEST_SECONDS = 60.0
"""An answer older than this is of another time; the same as for what engines said."""


class DemandReason(StrEnum):
    """How the query of ``spec.autoscaling.demandQuery`` stands."""

    ANSWERED = "QueryAnswered"
    PENDING = "QueryPending"
    NOT_CONFIGURED = "PrometheusNotConfigured"
    UNREACHABLE = "PrometheusUnreachable"
    SLOW = "PrometheusSlow"
    REFUSED = "QueryRefused"
    NO_SERIES = "NoSeries"
    SEVERAL_SERIES = "SeveralSeries"
    NOT_A_RATE = "NotARate"
    STALE = "AnswerTooOld"


_REMEDIES = {
    DemandReason.PENDING: "it has not been asked yet",
    DemandReason.NOT_CONFIGURED: "set prometheus.url of the chart, where the operator may ask",
    DemandReason.UNREACHABLE: "see whether prometheus.url of the chart is right, and answers",
    DemandReason.SLOW: "record it by a rule, and query what the rule records",
    DemandReason.REFUSED: "correct the query",
    DemandReason.NO_SERIES: "it selects nothing; add `or vector(0)` where that means no requests",
    DemandReason.SEVERAL_SERIES: "put sum() around it",
    DemandReason.NOT_A_RATE: "it must be requests per second: a number from 0 on",
    DemandReason.STALE: "no newer answer has come",
}


def usable(answer: QueriedDemand | None, now_seconds: float) -> float | None:
    """The requests per second of an answer; None where it is none, or too old, also by clocks that are apart."""
    if answer is None or answer.requests_per_second is None or abs(now_seconds - answer.seconds) > OLDEST_SECONDS:
        return None
    rate = answer.requests_per_second
    return rate if math.isfinite(rate) and rate >= 0.0 else None


def of_policy(answers: Iterable[QueriedDemand], policy: PolicyView) -> QueriedDemand | None:
    """The answer to this very query of this policy; one to its last query is none."""
    wanted = (policy.namespace, policy.name, policy.demand_query)
    return next((each for each in answers if (each.namespace, each.policy, each.query) == wanted), None)


def condition(policy: PolicyView, answer: QueriedDemand | None, now_seconds: float) -> ConditionValue | None:
    """Condition ``DemandKnown``; None without a query."""
    if policy.demand_query is None:
        return None
    rate = usable(answer, now_seconds)
    if rate is not None:
        message = f"{rate:.3g} requests per second come, by spec.autoscaling.demandQuery."
        return ConditionValue(CONDITION, "True", DemandReason.ANSWERED, message)
    reason = DemandReason.PENDING if answer is None else DemandReason(answer.reason)
    if reason is DemandReason.ANSWERED:
        reason = DemandReason.STALE
    said = f" ({answer.message})" if answer is not None and answer.message else ""
    message = (
        f"spec.autoscaling.demandQuery gives no demand{said}: {_REMEDIES[reason]}. "
        "What engines count themselves is taken meanwhile."
    )
    status = "Unknown" if reason is DemandReason.PENDING else "False"
    return ConditionValue(CONDITION, status, reason, message)


def shares(ready: Mapping[LoadKey, int], memory: Mapping[LoadKey, LoadMemory]) -> Mapping[LoadKey, float]:
    """What share of a policy's requests each of its keys gets: as they came there lately, else by ready pods."""
    came = {key: _rate(memory[key].demand) if key in memory else 0.0 for key in ready}
    weights = came if sum(came.values()) > 0.0 else {key: float(count) for key, count in ready.items()}
    total = sum(weights.values())
    return {key: weight / total if total > 0.0 else 0.0 for key, weight in weights.items()}


def instead(counted: Demand, requests_per_second: float | None) -> Demand:
    """The demand with these requests per second in place of those that engines counted, and the trend of those."""
    if requests_per_second is None:
        return counted
    expected = None
    if counted.expected_per_second is not None and counted.requests_per_second > 0.0:
        expected = requests_per_second * counted.expected_per_second / counted.requests_per_second
    return replace(counted, requests_per_second=requests_per_second, expected_per_second=expected)


def parsed(result: object) -> tuple[float | None, DemandReason, str]:
    """The one number in the result of an instant query (a vector or a scalar): rate, reason, and what was wrong."""
    if not isinstance(result, Sequence) or isinstance(result, str):
        return None, DemandReason.NOT_A_RATE, "the answer is no vector"
    if len(result) == 2 and not isinstance(result[0], Mapping):
        return _number(result[1])
    if not result:
        return None, DemandReason.NO_SERIES, ""
    if len(result) > 1:
        return None, DemandReason.SEVERAL_SERIES, f"{len(result)} series"
    value = result[0].get("value") if isinstance(result[0], Mapping) else None
    if not isinstance(value, Sequence) or len(value) != 2:
        return None, DemandReason.NOT_A_RATE, "the answer is no instant vector"
    return _number(value[1])


def _number(text: object) -> tuple[float | None, DemandReason, str]:
    try:
        rate = float(str(text))
    except ValueError:
        rate = math.nan
    if not math.isfinite(rate) or rate < 0.0:
        return None, DemandReason.NOT_A_RATE, f"it is {str(text)[:32]}"
    return rate, DemandReason.ANSWERED, ""


def _rate(memory: DemandMemory) -> float:
    return memory.arrived / memory.seconds if memory.seconds > 0.0 else 0.0
