"""A week of demand from Prometheus: by scale target, kept where Prometheus fails, asked for seldom."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import requests
from prometheus_api_client import PrometheusApiClientException

from turbospec_operator.prometheus_history import QUERY, PrometheusHistory, histories

LABELS = {"namespace": "team", "scale_target_kind": "deployment", "scale_target": "chat"}
SERIES = [{"metric": LABELS, "values": [[2.0, "20"], [1.0, "10"], [3.0, "NaN"]]}]


class Prometheus:
    """Answers with what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dt.timedelta]] = []

    def __call__(self, query: str, start: dt.datetime, end: dt.datetime) -> Sequence[Mapping[str, Any]]:
        self.asked.append((query, end - start))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]  # some are wrong on purpose


def test_series_are_those_of_scale_targets_in_order_and_without_what_is_no_number() -> None:
    anonymous = {"metric": {"exported_namespace": "team"}, "values": [[1.0, "5"]]}
    assert histories([*SERIES, anonymous]) == {("team", "deployment/chat"): ((1.0, 2.0), (10.0, 20.0))}


async def test_a_week_is_asked_for_and_then_not_for_ten_minutes() -> None:
    prometheus = Prometheus(SERIES)
    past = PrometheusHistory(prometheus)
    assert past.last() is None
    assert past.due()
    await past.read()
    known = past.last()
    assert known is not None
    assert (known.reason, list(known.series)) == ("HistoryUsed", [("team", "deployment/chat")])
    ((query, span),) = prometheus.asked
    assert (query, span.days) == (QUERY, 7)
    assert not past.due()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (requests.ConnectionError("refused"), "PrometheusUnreachable"),
        (requests.ReadTimeout("slow"), "PrometheusSlow"),
        (PrometheusApiClientException("HTTP Status Code 500"), "PrometheusUnreachable"),
        ([{"metric": LABELS}], "PrometheusUnreachable"),
        ([{"metric": LABELS, "values": [["x", "y"]]}], "PrometheusUnreachable"),
    ],
)
async def test_what_was_read_stays_where_prometheus_fails_and_it_is_said_once(
    failure: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    past = PrometheusHistory(Prometheus(failure, SERIES, failure, failure, SERIES))
    with caplog.at_level(logging.INFO):
        await past.read()
        first = past.last()
        for _ in range(2):
            await past.read()
        kept = past.last()
        for _ in range(2):
            await past.read()
    assert first is not None
    assert kept is not None
    assert (first.reason, first.series) == (reason, {})
    assert (kept.reason, list(kept.series)) == (reason, [("team", "deployment/chat")])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING", "INFO"]


async def test_without_a_prometheus_it_says_so() -> None:
    past = PrometheusHistory.at(None)
    await past.read()
    known = past.last()
    assert known is not None
    assert (known.reason, known.series) == ("PrometheusNotConfigured", {})
