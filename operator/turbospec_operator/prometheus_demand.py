"""Demand by the users' own PromQL: each policy's query, asked beside the loop; what was answered last is at hand."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3 import exceptions
from urllib3.util.retry import Retry

from turbospec.fleet.prometheus_answers import QueriedDemand
from turbospec.fleet.queried import DemandReason, parsed
from turbospec.fleet.snapshot import PolicyView

log = logging.getLogger(__name__)

REQUEST_SECONDS = 5
"""The client is synchronous and runs in a thread; this bounds how long that thread is held."""

INTERVAL_SECONDS = 15.0
"""As often as autoscalers look."""

AT_ONCE = 4
"""Queries under way: users write them, and a Prometheus has others to answer."""

MAX_TEXT = 200

Query = Callable[[str], Any]


def took_too_long(error: Exception) -> bool:
    """Whether a request ended for want of time; the client hides that where it was told not to try again."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    # A refused connection is one of its time-outs too, by descent only.
    hidden = isinstance(cause, exceptions.TimeoutError) and not isinstance(cause, exceptions.NewConnectionError)
    return isinstance(error, requests.Timeout) or hidden


class PrometheusDemand:
    """Asks every policy's query at most once per ``INTERVAL_SECONDS``. Without a Prometheus it says so."""

    def __init__(self, query: Query | None) -> None:
        self._query = query
        self._answers: dict[tuple[str, str], QueriedDemand] = {}
        self._asked_at = float("-inf")

    @classmethod
    def at(cls, url: str | None) -> "PrometheusDemand":
        """Ask the Prometheus at this address; without retries, because the next interval asks anyway."""
        if url is None:
            return cls(None)
        client = PrometheusConnect(url=url, timeout=REQUEST_SECONDS, retry=Retry(total=0))
        # Prometheus is told to give up too: nobody waits for its answer any longer.
        return cls(lambda expression: client.custom_query(expression, params={"timeout": f"{REQUEST_SECONDS}s"}))

    def answers(self) -> tuple[QueriedDemand, ...]:
        """What was answered last."""
        return tuple(self._answers.values())

    def due(self) -> bool:
        """Whether the interval has passed since the last read began."""
        return time.monotonic() - self._asked_at >= INTERVAL_SECONDS

    async def read(self, policies: Iterable[PolicyView]) -> None:
        """Ask for all of them; those that are gone, or no longer ask, are forgotten."""
        self._asked_at = time.monotonic()
        wanted = [(policy, query) for policy in policies if (query := policy.demand_query) is not None]
        few = asyncio.Semaphore(AT_ONCE)

        async def ask(policy: PolicyView, query: str) -> QueriedDemand:
            async with few:
                rate, reason, message = await asyncio.to_thread(self._ask, query)
            return QueriedDemand(policy.namespace, policy.name, query, rate, reason, message, time.time())

        found = await asyncio.gather(*(ask(policy, query) for policy, query in wanted))
        for answer in found:
            self._say(answer)
        self._answers = {(answer.namespace, answer.policy): answer for answer in found}

    def _ask(self, query: str) -> tuple[float | None, DemandReason, str]:
        if self._query is None:
            return None, DemandReason.NOT_CONFIGURED, ""
        try:
            return parsed(self._query(query))
        except PrometheusApiClientException as error:
            # A query that took too long is answered too (503); what cannot be understood is 400 or 422.
            text = " ".join(str(error).split())
            slow = "HTTP Status Code 503" in text
            refused = any(f"HTTP Status Code {code}" in text for code in (400, 422))
            reason = DemandReason.SLOW if slow else DemandReason.REFUSED if refused else DemandReason.UNREACHABLE
            return None, reason, text[:MAX_TEXT]
        except (requests.RequestException, KeyError, TypeError, ValueError) as error:
            if took_too_long(error):
                return None, DemandReason.SLOW, f"no answer within {REQUEST_SECONDS} s"
            return None, DemandReason.UNREACHABLE, f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_TEXT]

    def _say(self, answer: QueriedDemand) -> None:
        """In the log on changes only."""
        known = self._answers.get((answer.namespace, answer.policy))
        if answer.reason != (DemandReason.ANSWERED if known is None else known.reason):
            log.log(
                logging.INFO if answer.reason == DemandReason.ANSWERED else logging.WARNING,
                "demand of %s/%s: %s %s",
                answer.namespace,
                answer.policy,
                answer.reason,
                answer.message,
            )
