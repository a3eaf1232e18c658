"""How much work is offered to engines: requests that come, their lengths, and those that wait. K has no part in it.

Running requests and tokens per second are what speculation moves; requests that come, and how long they are, it does
not. So rates are counted at arrival, and what waits is counted because it has come and nothing has worked on it yet.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from operator import add, attrgetter

from turbospec.fleet.trend import REACTION_SECONDS, Trend

RATE_HALF_LIFE_SECONDS = 30.0
"""After a doubling three quarters of it show within a minute: four syncs of the HorizontalPodAutoscaler. Rates are
means over about 90 s: 10 requests per second are known to 3%."""

RATE_AGE_SECONDS = RATE_HALF_LIFE_SECONDS / math.log(2.0)
"""Mean age of what a rate is the mean of: by so much it lags behind."""

LENGTH_HALF_LIFE_SECONDS = 300.0
"""Lengths change more slowly than rates, and need more requests to be known as well: they scatter as much as their
mean."""

MIN_SECONDS = 30.0
"""Observed for less, a rate is chance."""

MIN_REQUESTS = 8.0
"""Requests that must have begun and finished before lengths are believed; as many are kept in mind while none come."""

DRAIN_SECONDS = 60.0
"""Within this time what waits is to be worked off. An order of magnitude above what users wait for a first token, and
below the 2 to 7 minutes that a new GPU pod takes: a queue that outlives it needs pods."""


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Cumulative counts of one engine since its start.

    ``prompt_tokens`` are those of the ``admitted`` requests, ``prefill_tokens`` what steps have computed of them:
    without what the prefix cache had, and again what was preempted. ``output_tokens`` belong to the finished ones.
    """

    arrived: int
    admitted: int
    prompt_tokens: int
    prefill_tokens: int
    finished: int
    output_tokens: int


_COUNTS: Callable[[RequestCounts], tuple[int, ...]] = attrgetter(*(each.name for each in fields(RequestCounts)))


@dataclass(frozen=True, slots=True)
class DemandMemory:
    """Fading sums over the engines of one group: rates are ratios of sums, so that no round weighs more than it saw."""

    observed_seconds: float = 0.0
    seconds: float = 0.0
    arrived: float = 0.0
    admitted: float = 0.0
    prompt_tokens: float = 0.0
    prefill_tokens: float = 0.0
    finished: float = 0.0
    output_tokens: float = 0.0
    trend: Trend = field(default_factory=Trend)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens of a request. ``prefill_tokens`` of its prompt have to be computed; the prefix cache has the rest."""

    prompt_tokens: float
    prefill_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests that come per second and requests that wait, all engines together.

    ``expected_per_second`` is what will come per second when a pod that is asked for now can take its share; None where
    nothing is expected to change.
    """

    requests_per_second: float
    waiting: float = 0.0
    expected_per_second: float | None = None

    @property
    def offered_per_second(self) -> float:
        """Requests per second to work on, were what waits worked off within ``DRAIN_SECONDS``."""
        return self.requests_per_second + self.waiting / DRAIN_SECONDS

    @property
    def expected_offered_per_second(self) -> float:
        """The same by what is expected to come."""
        coming = self.requests_per_second if self.expected_per_second is None else self.expected_per_second
        return coming + self.waiting / DRAIN_SECONDS

    def times(self, factor: float) -> "Demand":
        """So many times as much."""
        expected = None if self.expected_per_second is None else self.expected_per_second * factor
        return Demand(self.requests_per_second * factor, self.waiting * factor, expected)


def between(before: RequestCounts, now: RequestCounts) -> RequestCounts | None:
    """What happened in between; None where a count went backwards: another process counts there now."""
    found = RequestCounts(
        now.arrived - before.arrived,
        now.admitted - before.admitted,
        now.prompt_tokens - before.prompt_tokens,
        now.prefill_tokens - before.prefill_tokens,
        now.finished - before.finished,
        now.output_tokens - before.output_tokens,
    )
    return None if min(_COUNTS(found)) < 0 else found


def plus(one: RequestCounts, other: RequestCounts | None) -> RequestCounts:
    """Both together; None adds nothing."""
    if other is None:
        return one
    return RequestCounts(*map(add, _COUNTS(one), _COUNTS(other)))


def observe(memory: DemandMemory, happened: RequestCounts, elapsed_seconds: float) -> DemandMemory:
    """Add what happened on all engines of the group within this time; nothing is known of no time."""
    if elapsed_seconds <= 0.0:
        return memory
    rates = 0.5 ** (elapsed_seconds / RATE_HALF_LIFE_SECONDS)
    lengths = 0.5 ** (elapsed_seconds / LENGTH_HALF_LIFE_SECONDS)
    came, ended = _kept(memory.admitted, lengths), _kept(memory.finished, lengths)
    return DemandMemory(
        observed_seconds=memory.observed_seconds + elapsed_seconds,
        seconds=memory.seconds * rates + elapsed_seconds,
        arrived=memory.arrived * rates + happened.arrived,
        admitted=memory.admitted * came + happened.admitted,
        prompt_tokens=memory.prompt_tokens * came + happened.prompt_tokens,
        prefill_tokens=memory.prefill_tokens * came + happened.prefill_tokens,
        finished=memory.finished * ended + happened.finished,
        output_tokens=memory.output_tokens * ended + happened.output_tokens,
        trend=memory.trend.observe(happened.arrived, elapsed_seconds),
    )


def demand(memory: DemandMemory, waiting: float, start_seconds: float = 0.0) -> Demand | None:
    """The demand of the group, whose pods take ``start_seconds`` to be Ready; None where it was observed for less than
    ``MIN_SECONDS``."""
    if memory.observed_seconds < MIN_SECONDS or memory.seconds <= 0.0:
        return None
    rate = memory.arrived / memory.seconds
    return Demand(
        rate, max(0.0, waiting), memory.trend.ahead(rate, RATE_AGE_SECONDS + REACTION_SECONDS + start_seconds)
    )


def lengths(memory: DemandMemory) -> Lengths | None:
    """Mean lengths, prompts of what was admitted and outputs of what finished; None below ``MIN_REQUESTS`` of either.

    Prefill is what steps computed of the prompts in the same time, at most all of them: preemption computes
    some twice, which is a sign of too much load and not of longer prompts.
    """
    if memory.admitted < MIN_REQUESTS or memory.finished < MIN_REQUESTS or memory.output_tokens <= 0.0:
        return None
    prompt = memory.prompt_tokens / memory.admitted
    prefill = min(prompt, memory.prefill_tokens / memory.admitted)
    return Lengths(prompt, prefill, memory.output_tokens / memory.finished)


def forget_rate(memory: DemandMemory) -> DemandMemory:
    """The memory after a time that nobody observed: lengths are kept, the rate is counted anew."""
    return replace(memory, observed_seconds=0.0, seconds=0.0, arrived=0.0, trend=Trend())


def _kept(known: float, fading: float) -> float:
    """How much of the past is kept: it fades, but not below what lengths need."""
    if known * fading >= MIN_REQUESTS or known <= 0.0:
        return fading
    return min(1.0, MIN_REQUESTS / known)
