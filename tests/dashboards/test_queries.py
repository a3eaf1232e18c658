"""Every query of every dashboard, asked of a real Prometheus that scrapes live stand-ins and an operator's series."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.errors import ClusterError
from e2e.demo.prometheus import find_program
from tests.dashboards.committed import BOARDS, Target, label_values, series_name, substituted, targets, variables
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
        missing = await _problems(server, targets())
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


async def _problems(server: Prometheus, wanted: Sequence[Target]) -> list[str]:
    """What is still wrong when patience ends; asked again only for that, because rates need some scrapes."""
    problems: dict[Target, str] = dict.fromkeys(wanted, "not asked")
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while problems and asyncio.get_running_loop().time() < deadline:
        asked = tuple(problems)
        answers = await asyncio.gather(*(server.query(substituted(target.expr)) for target in asked))
        found = ((target, _problem(target, series)) for target, series in zip(asked, answers, strict=True))
        problems = {target: problem for target, problem in found if problem is not None}
        if problems:
            await asyncio.sleep(PAUSE_SECONDS)
    return [f"{target}: {problem}" for target, problem in problems.items()]


def _problem(target: Target, series: Sequence[dict[str, Any]]) -> str | None:
    if not any(math.isfinite(float(each["value"][1])) for each in series):
        return "no data"
    names = [series_name(target.legend, each["metric"]) for each in series]
    if not all(name.strip(" /") for name in names) or len(set(names)) < len(names):
        return f"series without a name of their own: {sorted(names)}"
    return None


async def _values(server: Prometheus, query: str) -> list[str]:
    selector, label = label_values(query)
    return await server.label_values(label, substituted(selector))


async def _read_load(fleet: StandInFleet, url: str) -> None:
    load = PrometheusLoad.at(url, 0.0, fleet.metrics)
    while True:
        await load.read(fleet.snapshot)
        await asyncio.sleep(PAUSE_SECONDS)
