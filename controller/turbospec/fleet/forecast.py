"""What load becomes within a while, by what it became at the same time of day on the days before.

Simple on purpose: of each of the last seven days, how much more came at that time plus the horizon than at that time;
the median of these factors, times what comes today. A day that was off, or busier as a whole, does not matter; that
weekends differ from weekdays does, for some days. Where there is no such day nothing is said.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from statistics import fmean, median

from turbospec.fleet.demand import RATE_AGE_SECONDS
from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.prometheus_answers import DemandHistory, Samples
from turbospec.fleet.snapshot import PolicyView

CONDITION = "HistoryKnown"
DAY_SECONDS = 86_400.0
DAYS = 7

AROUND_SECONDS = 450.0
"""Means over a quarter of an hour: at 5 requests per second the factor of one day is then known to 3%."""

MOST_FACTOR = 2.0
"""The largest change that history is believed to bring, up or down: what is more is an event, and not a time of day."""

KEPT_SECONDS = 6 * 3600.0
"""How long history is used that nobody could renew: what it says is a day old anyhow."""

ANSWERED, PENDING, TOO_SHORT = "HistoryUsed", "HistoryPending", "HistoryTooShort"

Place = tuple[str, str]
"""Namespace and scale target."""


def factor(samples: Samples, now_seconds: float, ahead_seconds: float) -> float | None:
    """By what factor the load grows within ``ahead_seconds``, up or down by at most ``MOST_FACTOR``; None without a day
    that tells."""
    found = []
    for day in range(1, DAYS + 1):
        then = now_seconds - day * DAY_SECONDS
        before, after = _around(samples, then), _around(samples, then + ahead_seconds)
        if before is not None and after is not None and before > 0.0:
            found.append(after / before)
    return min(max(median(found), 1.0 / MOST_FACTOR), MOST_FACTOR) if found else None


def factors(
    policy: PolicyView, history: DemandHistory | None, places: Iterable[Place], now_seconds: float
) -> Mapping[Place, float]:
    """The factor of each scale target of which one is known, over the policy's horizon; none without a horizon.

    Rates are means over the past, then as now, by ``RATE_AGE_SECONDS``; so it is looked that much further ahead.
    """
    if policy.horizon_seconds is None or history is None or now_seconds - history.seconds > KEPT_SECONDS:
        return {}
    ahead = policy.horizon_seconds + RATE_AGE_SECONDS
    known = {place: factor(history.series[place], now_seconds, ahead) for place in places if place in history.series}
    return {place: value for place, value in known.items() if value is not None}


def condition(
    policy: PolicyView, history: DemandHistory | None, places: Iterable[Place], now_seconds: float
) -> ConditionValue | None:
    """Condition ``HistoryKnown``; None without a horizon."""
    if policy.horizon_seconds is None:
        return None
    wanted = sorted(set(places))
    known = factors(policy, history, wanted, now_seconds)
    over = f"what is expected within {policy.horizon_seconds:g} s"
    if wanted and len(known) == len(wanted):
        message = f"{over} is what became of the load at this time of day, on up to {DAYS} days before."
        return ConditionValue(CONDITION, "True", ANSWERED, message)
    slope = "the slope of the last minutes is taken"
    if history is None:
        return ConditionValue(CONDITION, "Unknown", PENDING, f"Prometheus has not been asked yet: {slope}.")
    if history.reason != ANSWERED:
        message = f"no history of the load ({history.message or history.reason}): {slope}."
        return ConditionValue(CONDITION, "False", history.reason, message)
    missing = ", ".join(name for _, name in wanted if (policy.namespace, name) not in known) or "this policy's pods"
    message = f"Prometheus holds no day of turbospec_demand_tokens_per_second of {missing} yet: {slope}."
    return ConditionValue(CONDITION, "Unknown", TOO_SHORT, message)


def _around(samples: Samples, moment: float) -> float | None:
    times, values = samples
    first, last = bisect_left(times, moment - AROUND_SECONDS), bisect_right(times, moment + AROUND_SECONDS)
    return fmean(values[first:last]) if last > first else None
