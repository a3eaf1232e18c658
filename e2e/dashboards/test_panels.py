"""Every panel of every dashboard over a real cluster's own operator and twenty stand-ins, and pictures of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import matplotlib as mpl
import pytest

from e2e.cluster.paths import REPOSITORY
from e2e.dashboards.conftest import KINDS, POLICIES, Fleet
from e2e.demo.engines import SERVING_PORT
from e2e.demo.kube import wait_for
from e2e.manifests.serving import NAMESPACE
from tests.dashboards.answers import problems
from tests.dashboards.committed import BOARDS, targets
from tests.dashboards.draw import draw, panels
from tests.dashboards.prometheus import Prometheus

pytestmark = pytest.mark.timeout(1800)

PICTURES = REPOSITORY / "build" / "dashboards"
PHASES = ((60.0, 2, 0.7), (60.0, 10, 0.7), (60.0, 24, 0.4), (60.0, 3, 0.9))
"""Seconds, clients at each engine, and how predictable their texts are."""
PATIENCE_SECONDS = 300.0
LEAST_BYTES = 20_000
"""Of a picture with something in it."""


@pytest.fixture
def drawn() -> None:
    """Pictures without a display, into an empty folder."""
    mpl.use("agg")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()


@asynccontextmanager
async def clients(fleet: Fleet, count: int, acceptance: float) -> AsyncIterator[None]:
    """So many at each engine while the context is open."""
    body = {"prompt": [1] * 200, "max_tokens": 200, "vllm_xargs": {"acceptance": acceptance}}
    async with aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=0)) as session:
        urls = [f"http://{address}:{SERVING_PORT}/v1/completions" for address in fleet.addresses.values()]
        tasks = [asyncio.create_task(_client(session, url, body)) for url in urls for _ in range(count)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _client(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> None:
    while True:
        async with session.post(url, json=body) as answer:
            await answer.read()


def test_three_policies_govern_twenty_engines_on_two_nodes(fleet: Fleet) -> None:
    """As many pods as were asked for, on both nodes, and every policy has seen its own."""
    pods = fleet.kube.pods(NAMESPACE, "kind")
    assert len(pods) == sum(kind.replicas for kind in KINDS) == 20
    assert len({pod.spec.node_name for pod in pods}) == 2
    wanted = {name: sum(kind.replicas for kind in KINDS if kind.app == name) for name in POLICIES}

    def seen() -> bool:
        found = {name: fleet.kube.policy(NAMESPACE, name).get("status", {}).get("pods") for name in POLICIES}
        return found == wanted

    wait_for("every policy to count its pods", seen, 60)


@pytest.mark.usefixtures("drawn")
async def test_every_panel_shows_data_and_is_drawn(fleet: Fleet) -> None:
    """Through four minutes of changing load; pictures lie in build/dashboards, to be looked at."""
    began = time.time()
    async with aiohttp.ClientSession(trust_env=False) as session:
        server = Prometheus(session, fleet.prometheus_url)
        for seconds, count, acceptance in PHASES:
            async with clients(fleet, count, acceptance):
                await asyncio.sleep(seconds)
        async with clients(fleet, 2, 0.7):
            missing = await problems(server, targets(), PATIENCE_SECONDS)
            pod = next(name for name in sorted(fleet.addresses) if name.startswith("chat-"))
            shown = {board: await panels(server, board, began, pod) for board in BOARDS}
    for board, found in shown.items():
        picture = PICTURES / f"dashboard-{board}.png"
        draw(board, found, picture)
        assert picture.stat().st_size > LEAST_BYTES
    assert missing == []
