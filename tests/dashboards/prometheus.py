"""A real Prometheus that scrapes the stand-ins of a test, often."""

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.dashboards.stand_in_fleet import Endpoints

SCRAPE_INTERVAL = "1s"
START_SECONDS = 30.0


class QueryError(Exception):
    """Prometheus refused a query; the message is its own."""


class Prometheus:
    """Its query API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query, now."""
        found: list[dict[str, Any]] = (await self._get("query", {"query": expr}))["result"]
        return found

    async def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a range query; seconds."""
        parameters = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step}"}
        found: list[dict[str, Any]] = (await self._get("query_range", parameters))["result"]
        return found

    async def label_values(self, label: str, selector: str) -> list[str]:
        """As Grafana's ``label_values(selector, label)``."""
        found: list[str] = await self._get(f"label/{label}/values", {"match[]": selector})
        return found

    async def _get(self, path: str, parameters: dict[str, str]) -> Any:
        async with self._session.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            body = await answer.json()
        if body["status"] != "success":
            raise QueryError(body["error"])
        return body["data"]


@asynccontextmanager
async def prometheus(
    program: str, endpoints: Endpoints, folder: Path, scrape_interval: str = SCRAPE_INTERVAL
) -> AsyncIterator[Prometheus]:
    """Scrapes the fleet as the chart's monitors have it scraped, until the context ends.

    Raises RuntimeError with its log where it does not start.
    """
    (folder / "prometheus.yml").write_text(json.dumps(configuration(endpoints, scrape_interval)))
    port, log = _free_port(), folder / "log"
    with _process(program, port, folder, log) as process:
        async with aiohttp.ClientSession(trust_env=False) as session:
            client = Prometheus(session, f"http://127.0.0.1:{port}")
            if not await _started(client, process):
                raise RuntimeError(await asyncio.to_thread(log.read_text))
            yield client


@contextmanager
def _process(program: str, port: int, folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def configuration(endpoints: Endpoints, scrape_interval: str) -> dict[str, Any]:
    """Jobs and labels as ServiceMonitor and PodMonitor make them; vLLM's as a PodMonitor of the user's would."""
    pods = [member for member in endpoints.fleet.members if member.address]

    def engines(port: int) -> list[dict[str, Any]]:
        return [
            {
                "targets": [f"{member.address}:{port}"],
                "labels": {"namespace": member.view.namespace, "pod": member.view.name},
            }
            for member in pods
        ]

    operator = {
        "targets": [f"127.0.0.1:{endpoints.operator_port}"],
        "labels": {"namespace": "turbospec-system", "pod": "turbospec-operator-0"},
    }
    return {
        "global": {"scrape_interval": scrape_interval, "scrape_timeout": scrape_interval},
        "scrape_configs": [
            {"job_name": "turbospec-operator", "honor_labels": True, "static_configs": [operator]},
            {"job_name": "turbospec-engines", "static_configs": engines(endpoints.control_port)},
            {"job_name": "vllm", "static_configs": engines(endpoints.serving_port)},
        ],
    }


async def _started(client: Prometheus, process: subprocess.Popen[bytes]) -> bool:
    """Waits until it answers; False where it ended instead."""
    async with asyncio.timeout(START_SECONDS):
        while process.poll() is None:
            try:
                await client.query("vector(1)")
            except (aiohttp.ClientError, QueryError):
                await asyncio.sleep(0.05)
            else:
                return True
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
