"""Every query of every dashboard, asked of a real Prometheus that scrapes live stand-ins and an operator's series."""

import asyncio
from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.demo.prometheus import find_program
from tests.dashboards.answers import problems
from tests.dashboards.committed import BOARDS, label_values, substituted, targets, variables
from tests.dashboards.prometheus import Prometheus, prometheus
from tests.dashboards.stand_in_fleet import StandInFleet, stand_in_fleet
from turbospec_operator.prometheus_load import PrometheusLoad

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.25


@pytest.fixture
def program() -> str:
    """Prometheus of the PATH, or Debian's in the cache."""
    try:
        return find_program(print)
    except ClusterError as error:
        pytest.skip(f"no Prometheus (Debian: apt-get install prometheus): {error}")


@pytest.mark.timeout(240)
async def test_every_panel_shows_data_and_every_filter_has_values(program: str, tmp_path: Path) -> None:
    """With the fleet's own load reader asking the same Prometheus, as where prometheus.url is set."""
    async with (
        stand_in_fleet() as endpoints,
        prometheus(program, endpoints, tmp_path) as server,
        asyncio.TaskGroup() as group,
    ):
        reading = group.create_task(_read_load(endpoints.fleet, server.url))
        missing = await problems(server, targets(), PATIENCE_SECONDS)
        values = {
            f"{board}: ${name}": await _values(server, variable["query"])
            for board in BOARDS
            for name, variable in variables(board).items()
        }
        reading.cancel()
    assert missing == []
    assert [name for name, found in values.items() if not found] == []
    assert values["fleet: $policy"] == ["batch", "chat", "search"]
    assert values["autoscaling: $scale_target"] == ["batch", "chat", "old", "search"]


async def _values(server: Prometheus, query: str) -> list[str]:
    selector, label = label_values(query)
    return await server.label_values(label, substituted(selector))


async def _read_load(fleet: StandInFleet, url: str) -> None:
    load = PrometheusLoad.at(url, 0.0, fleet.metrics)
    while True:
        await load.read(fleet.snapshot)
        await asyncio.sleep(PAUSE_SECONDS)
