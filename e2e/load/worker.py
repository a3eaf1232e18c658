"""The load generator: a process of its own, so that measuring never waits for what the demo draws.

Commands come as JSON lines on stdin, figures go as JSON lines to stdout twice a second:

    {"targets": {"engine-a": "http://10.0.0.5:8000"}, "style": "code", "clients": 16, "seed": 1}    clients per target
    {"at": 12.5, "tokens": {"engine-a": 340}, "completed": 7, "failed": 0, "error": null}           totals since start

Closed loop: each client sends its next request when the last one is answered. At a change of phase the clients of the
last one hang up, as people do (vLLM aborts their requests; they count neither as completed nor as failed), so that a
phase begins with its own load at once. ``at`` is the monotonic clock of this machine. Ends when stdin does.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from e2e.load.requests import Call, calls

REPORT_SECONDS = 0.5
REQUEST_SECONDS = 120.0
"""A request that takes longer is a failure: no phase of the demo lasts as long."""


@dataclass
class Totals:
    """Running totals since the process started. ``prompt_tokens`` are those of prompts whose first token has come;
    ``arrived`` is when the last token did, on the monotonic clock."""

    tokens: Counter[str] = field(default_factory=Counter)
    prompt_tokens: Counter[str] = field(default_factory=Counter)
    arrived: float = 0.0
    completed: int = 0
    failed: int = 0
    error: str | None = None


class Load:
    """The clients at work, phase by phase."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.totals = Totals()
        self._session = session
        self._clients: set[asyncio.Task[None]] = set()
        self._reached: set[asyncio.Task[None] | None] = set()

    @property
    def all_answered(self) -> bool:
        """Whether every client of this phase has had a first token: none still waits for its first prompt."""
        return self._clients <= self._reached

    def start(self, targets: dict[str, str], style: str, clients: int, seed: str) -> None:
        """Begin a phase; the clients of the last one hang up."""
        self.hang_up()
        self._reached.clear()
        for target, index in itertools.product(targets.items(), range(clients)):
            task = asyncio.create_task(self._client(target, style, f"{seed}-{target[0]}-{index}"))
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

    def hang_up(self) -> None:
        """End all clients where they are."""
        for client in self._clients:
            client.cancel()

    async def _client(self, target: tuple[str, str], style: str, seed: str) -> None:
        name, url = target
        for call in calls(style, seed):
            try:
                await self._answer(name, url, call)
                self.totals.completed += 1
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as failure:
                self.totals.failed += 1
                self.totals.error = f"{name}: {type(failure).__name__}: {failure}"[:300]
                await asyncio.sleep(0.2)  # a dead server must not be hammered

    async def _answer(self, name: str, url: str, call: Call) -> None:
        """Count tokens as they arrive. Raises where the answer is an error or ends early."""
        seen = 0
        finished = False
        async with self._session.post(url + call.path, json=call.body) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}: {(await response.text())[:200]}")
            async for line in response.content:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise ValueError(str(chunk["error"])[:200])
                finished = finished or any(choice.get("finish_reason") for choice in chunk["choices"])
                usage = chunk["usage"]
                self._count(name, usage["completion_tokens"] - seen, usage["prompt_tokens"] if not seen else 0)
                seen = usage["completion_tokens"]
        if not finished:
            raise ValueError("the stream ended before the answer did")

    def _count(self, name: str, tokens: int, prompt_tokens: int) -> None:
        """Tokens of this client's answer have arrived, the first ones with those of its prompt."""
        if tokens:
            self.totals.tokens[name] += tokens
            self.totals.prompt_tokens[name] += prompt_tokens
            self.totals.arrived = time.monotonic()
            self._reached.add(asyncio.current_task())


async def read_commands(load: Load) -> None:
    """Obey stdin until it closes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        load.start(command["targets"], command["style"], command["clients"], command["seed"])


async def report(load: Load) -> None:
    """Write the totals, on a clock that does not drift."""
    begin = time.monotonic()
    for tick in itertools.count(1):
        totals = load.totals
        figures = {
            "at": time.monotonic(),
            "tokens": dict(totals.tokens),
            "completed": totals.completed,
            "failed": totals.failed,
            "error": totals.error,
        }
        print(json.dumps(figures), flush=True)
        await asyncio.sleep(max(0.0, begin + tick * REPORT_SECONDS - time.monotonic()))


async def main() -> None:
    """Run until stdin closes."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
        load = Load(session)
        reporting = asyncio.create_task(report(load))
        await read_commands(load)
        reporting.cancel()
        load.hang_up()


if __name__ == "__main__":
    asyncio.run(main())
