"""A week of the load signal's own demand from Prometheus, for what is expected at this time of day."""

import asyncio
import datetime as dt
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from turbospec.fleet.forecast import ANSWERED, DAY_SECONDS, DAYS
from turbospec.fleet.prometheus_answers import DemandHistory, Samples
from turbospec.fleet.queried import DemandReason
from turbospec_operator.prometheus_demand import took_too_long

log = logging.getLogger(__name__)

QUERY = "sum by (namespace, scale_target_kind, scale_target) (turbospec_demand_tokens_per_second)"
STEP_SECONDS = 300
REQUEST_SECONDS = 30
"""A week of a hundred targets is 200,000 samples."""

REFRESH_SECONDS = 600.0
"""Nothing is looked for within it that is younger than most of a day."""

RETRY_SECONDS = 60.0

RangeQuery = Callable[[str, dt.datetime, dt.datetime], Sequence[Mapping[str, Any]]]


class PrometheusHistory:
    """Reads it beside the loop, for as long as some policy wants it; what was read last stays at hand."""

    def __init__(self, query: RangeQuery | None) -> None:
        self._query = query
        self._known: DemandHistory | None = None
        self._due_at = float("-inf")

    @classmethod
    def at(cls, url: str | None) -> "PrometheusHistory":
        """Ask the Prometheus at this address; without one it says so."""
        if url is None:
            return cls(None)
        client = PrometheusConnect(url=url, timeout=REQUEST_SECONDS, retry=Retry(total=0))
        step = str(STEP_SECONDS)
        return cls(lambda query, start, end: client.custom_query_range(query, start, end, step))

    def last(self) -> DemandHistory | None:
        """What was read last; None before."""
        return self._known

    def due(self) -> bool:
        """Whether it is time to read it again."""
        return time.monotonic() >= self._due_at

    async def read(self) -> None:
        """Read it. Where that fails, what was known stays, and the reason is said."""
        self._due_at = time.monotonic() + RETRY_SECONDS
        end = dt.datetime.now(dt.UTC)
        found = await asyncio.to_thread(self._ask, end)
        known = self._known
        if (known.reason if known else ANSWERED) != found.reason:
            log.log(
                logging.INFO if found.reason == ANSWERED else logging.WARNING,
                "history of the load: %s %s",
                found.reason,
                found.message,
            )
        if found.reason == ANSWERED:
            self._due_at = time.monotonic() + REFRESH_SECONDS
        elif known is not None and known.series:
            found = replace(known, reason=found.reason, message=found.message)
        self._known = found

    def _ask(self, end: dt.datetime) -> DemandHistory:
        def nothing(reason: DemandReason, message: str = "") -> DemandHistory:
            return DemandHistory({}, reason, message, end.timestamp())

        if self._query is None:
            return nothing(DemandReason.NOT_CONFIGURED, "set prometheus.url of the chart")
        try:
            listed = self._query(QUERY, end - dt.timedelta(seconds=DAYS * DAY_SECONDS + 2 * STEP_SECONDS), end)
            return DemandHistory(histories(listed), ANSWERED, "", end.timestamp())
        except (requests.RequestException, PrometheusApiClientException, KeyError, TypeError, ValueError) as error:
            if took_too_long(error):
                return nothing(DemandReason.SLOW, f"no answer within {REQUEST_SECONDS} s")
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
            return nothing(DemandReason.UNREACHABLE, text)


def histories(listed: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Samples]:
    """A range vector as samples by (namespace, scale target), times rising; what is no number is left out."""
    found: dict[tuple[str, str], Samples] = {}
    for series in listed:
        labels = series["metric"]
        if not {"namespace", "scale_target_kind", "scale_target"} <= labels.keys():
            continue  # scraped without honorLabels: whose it is cannot be told
        pairs = sorted((float(at), float(text)) for at, text in series["values"])
        usable = [(at, value) for at, value in pairs if math.isfinite(value) and value >= 0.0]
        place = labels["namespace"], f"{labels['scale_target_kind']}/{labels['scale_target']}"
        found[place] = tuple(at for at, _ in usable), tuple(value for _, value in usable)
    return found
