"""Live stand-ins for tests, on loopback addresses and free ports, faster than real time."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.simulation.builders import engine_file
from turbospec.engine.records import PAGE_ROWS
from turbospec.simulation.files import EngineFile
from turbospec.standin.engine import StandInEngine
from turbospec.standin.many import addresses_from, stand_in_engines
from turbospec.standin.options import StandInOptions
from turbospec.standin.server import StandInServer
from turbospec.wire.engine_state import EngineState, StepsPage

TOKEN = "right"
HASH = hashlib.sha256(TOKEN.encode()).hexdigest()
SPEED = 20.0
FIRST = IPv4Address("127.77.0.1")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class StandIns:
    """Engines being served, and a client for them."""

    engines: dict[str, StandInEngine]
    server: StandInServer
    session: aiohttp.ClientSession

    @property
    def addresses(self) -> list[str]:
        return list(self.engines)

    def engine(self, number: int = 0) -> StandInEngine:
        return self.engines[self.addresses[number]]

    def url(self, path: str, number: int = 0, *, control: bool = False) -> str:
        port = self.server.control_port if control else self.server.port
        return f"http://{self.addresses[number]}:{port}{path}"

    async def get(self, path: str, number: int = 0) -> Answer:
        async with self.session.get(self.url(path, number)) as response:
            return Answer(response.status, await response.read())

    async def post(self, path: str, body: Any, number: int = 0) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.url(path, number), data=data) as response:
            return Answer(response.status, await response.read())

    async def complete(self, number: int = 0, **fields: Any) -> Answer:
        return await self.post("/v1/completions", {"prompt": [1] * 50, "max_tokens": 40, **fields}, number)

    async def stream(self, path: str, body: Any) -> list[Any]:
        """The chunks of a streamed answer; the last one must be [DONE]."""
        async with self.session.post(self.url(path), json={**body, "stream": True}) as response:
            assert response.status == 200
            lines = [line.removeprefix("data: ") for line in (await response.text()).split("\n\n") if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]

    async def ask(
        self, method: str, path: str, number: int = 0, body: bytes | None = None, token: str | None = TOKEN
    ) -> Answer:
        """A request to the control port."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = self.url(path, number, control=True)
        async with self.session.request(method, url, data=body, headers=headers) as response:
            return Answer(response.status, await response.read())

    async def put(self, document: Any, number: int = 0) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.ask("PUT", "/v1/control", number, body)

    async def state(self, number: int = 0) -> EngineState:
        answer = await self.ask("GET", "/v1/state", number)
        assert answer.status == 200
        return EngineState.model_validate_json(answer.body)

    async def steps(self, number: int = 0, since: int = 0) -> list[dict[str, Any]]:
        """All step records from ``since`` on."""
        steps: list[dict[str, Any]] = []
        while True:
            answer = await self.ask("GET", f"/v1/steps?since={since}", number)
            page = StepsPage.model_validate_json(answer.body)
            steps += (dict(zip(page.fields, row, strict=True)) for row in page.rows)
            since = page.next
            if len(page.rows) < PAGE_ROWS:
                return steps

    async def metrics(self, number: int = 0) -> dict[tuple[str, str], float]:
        """Samples of the serving port by name and the label that follows model and engine, if any."""
        text = (await self.get("/metrics", number)).body.decode()
        return dict(_samples(text))


def _samples(text: str) -> Iterator[tuple[tuple[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("model_name"), labels.pop("engine")) == ("stand-in", "0")
            yield (sample.name, ",".join(labels.values())), sample.value


@asynccontextmanager
async def stand_ins(
    spec: EngineFile | None = None, *, count: int = 1, first: IPv4Address = FIRST, **options: Any
) -> AsyncIterator[StandIns]:
    """``count`` engines with the token ``TOKEN``."""
    chosen = StandInOptions(**{"speed": SPEED, **options})
    engines = stand_in_engines(spec or engine_file(), chosen, addresses_from(first, count), [HASH])
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        StandInServer(engines, 0, 0) as server,
        aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
    ):
        yield StandIns(engines, server, session)


def table_document(draft_tokens: int, **changes: Any) -> dict[str, Any]:
    """A control document that fixes K."""
    fields: dict[str, Any] = {
        "id": f"doc-{draft_tokens}",
        "epoch": 1,
        "mode": "table",
        "allowedDraftTokens": [draft_tokens],
        "table": [{"fromBatch": 1, "toBatch": 32, "draftTokens": draft_tokens}],
    }
    return {**fields, **changes}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, generously."""
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - the other end of a connection signals nothing
            await asyncio.sleep(0.01)
