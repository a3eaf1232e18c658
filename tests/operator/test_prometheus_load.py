"""Fleet load from Prometheus: sums by policy, unknown is not zero, and a Prometheus that fails costs a log line."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import requests

from tests.operator.samples import engine_pod, policy
from tests.operator.test_views import stored
from turbospec.fleet.snapshot import FleetSnapshot
from turbospec_operator import views
from turbospec_operator.metrics import Metrics
from turbospec_operator.prometheus_load import WAITING, PrometheusLoad


def snapshot() -> FleetSnapshot:
    """Two pods of policy chat, one of policy code."""
    pods = [engine_pod("shop", "chat-1"), engine_pod("shop", "chat-2"), engine_pod("shop", "code-1", app="code")]
    return FleetSnapshot(
        now_seconds=0.0,
        epoch=1,
        policies=tuple(views.policy_view(stored(policy("shop", name))) for name in ("chat", "code")),
        pods=tuple(views.pod_view(stored(pod), None, None) for pod in pods),
    )


def vector(*values: tuple[str, str, str]) -> list[dict[str, Any]]:
    """An instant vector as Prometheus returns it."""
    return [{"metric": {"namespace": namespace, "pod": pod}, "value": [1.0, value]} for namespace, pod, value in values]


async def test_load_is_summed_over_the_policys_own_pods() -> None:
    """Pods of other policies and namespaces do not count; a policy that Prometheus does not know has no series."""

    def query(expression: str) -> Sequence[Mapping[str, Any]]:
        if expression == WAITING:
            return vector(("shop", "chat-1", "1"))
        return [*vector(("shop", "chat-1", "3"), ("shop", "chat-2", "4"), ("else", "chat-1", "50")), {"metric": {}}]

    metrics = Metrics()
    await PrometheusLoad(query, 15.0, metrics).read(snapshot())
    text = metrics.text().decode()
    assert 'turbospec_fleet_requests_running{namespace="shop",policy="chat"} 7.0' in text
    assert 'turbospec_fleet_requests_waiting{namespace="shop",policy="chat"} 1.0' in text
    assert 'policy="code"' not in text


@pytest.mark.parametrize("answer", [requests.ConnectionError("refused"), [{"metric": {"namespace": "a", "pod": "b"}}]])
async def test_a_prometheus_that_fails_is_said_once_and_counted(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins, one when it ends."""
    working = False

    def query(_expression: str) -> Sequence[Mapping[str, Any]]:
        if working:
            return []
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    metrics = Metrics()
    load = PrometheusLoad(query, 15.0, metrics)
    with caplog.at_level(logging.INFO):
        await load.read(snapshot())
        await load.read(snapshot())
        assert len(caplog.records) == 1
        working = True
        await load.read(snapshot())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    text = metrics.text().decode()
    assert 'turbospec_operator_prometheus_reads_total{result="failed"} 2.0' in text
    assert 'turbospec_operator_prometheus_reads_total{result="done"} 1.0' in text


async def test_it_is_due_at_the_start_and_then_once_per_interval() -> None:
    """Rounds are more frequent than scrapes."""
    load = PrometheusLoad(lambda _expression: [], 3600.0, Metrics())
    assert load.due()
    await load.read(snapshot())
    assert not load.due()
