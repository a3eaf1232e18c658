"""The users' own queries of demand, from a real HTTP server that answers, lies, dawdles or is not there."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fleet.builders import policy
from turbospec_operator import prometheus_demand
from turbospec_operator.prometheus_demand import PrometheusDemand

ANSWERS: dict[str, tuple[int, str]] = {
    "one": (200, json.dumps({"data": {"result": [{"metric": {}, "value": [1.0, "7.5"]}]}})),
    "scalar": (200, json.dumps({"data": {"resultType": "scalar", "result": [1.0, "3"]}})),
    "nan": (200, json.dumps({"data": {"result": [{"metric": {}, "value": [1.0, "NaN"]}]}})),
    "none": (200, json.dumps({"data": {"result": []}})),
    "two": (200, json.dumps({"data": {"result": [{"value": [1.0, "1"]}, {"value": [1.0, "2"]}]}})),
    "bad": (400, json.dumps({"error": "parse error"})),
    "too long": (503, json.dumps({"error": "query timed out in expression evaluation"})),
    "broken": (500, "oops"),
    "login page": (200, "<html>"),
    "odd": (200, "[]"),
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Prometheus whose answer the query names; ``slow`` is answered when the module is done."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)["query"][0]
            if query == "slow":
                done.wait(60.0)
            status, text = ANSWERS.get(query, (200, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing: tests read stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    done.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("query", "rate", "reason"),
    [
        ("one", 7.5, "QueryAnswered"),
        ("scalar", 3.0, "QueryAnswered"),
        ("nan", None, "NotARate"),
        ("none", None, "NoSeries"),
        ("two", None, "SeveralSeries"),
        ("bad", None, "QueryRefused"),
        ("too long", None, "PrometheusSlow"),
        ("broken", None, "PrometheusUnreachable"),
        ("login page", None, "PrometheusUnreachable"),
        ("odd", None, "PrometheusUnreachable"),
        ("slow", None, "PrometheusSlow"),
    ],
)
async def test_what_is_no_number_has_a_reason(
    address: str, query: str, rate: float | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_demand, "REQUEST_SECONDS", 0.3 if query == "slow" else 30)
    demand = PrometheusDemand.at(address)
    await demand.read([policy(demand_query=query), policy("code")])
    (found,) = demand.answers()
    assert (found.policy, found.query, found.requests_per_second, found.reason) == ("chat", query, rate, reason)


async def test_a_prometheus_that_is_not_there_and_one_that_nobody_named() -> None:
    for url, reason in (("http://127.0.0.1:9", "PrometheusUnreachable"), (None, "PrometheusNotConfigured")):
        demand = PrometheusDemand.at(url)
        assert demand.answers() == ()
        await demand.read([policy(demand_query="one")])
        assert [each.reason for each in demand.answers()] == [reason]


async def test_it_is_said_once_and_forgotten_with_its_policy(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[object] = [[], [], [1.0, "2"]]
    demand = PrometheusDemand(lambda _: answers.pop(0))
    assert demand.due()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await demand.read([policy(demand_query="q")])
    assert not demand.due()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    await demand.read([policy()])
    assert demand.answers() == ()


async def test_slow_queries_are_asked_a_few_at_a_time() -> None:
    under_way, most, lock = 0, 0, threading.Lock()
    enough = threading.Event()

    def query(_: str) -> list[object]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if most == prometheus_demand.AT_ONCE:
                enough.set()
        enough.wait(30.0)
        with lock:
            under_way -= 1
        return [1.0, "1"]

    demand = PrometheusDemand(query)
    await asyncio.wait_for(demand.read([policy(f"p{i}", demand_query="q") for i in range(12)]), 60.0)
    assert len(demand.answers()) == 12
    assert most == prometheus_demand.AT_ONCE
