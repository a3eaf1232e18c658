"""Starts and steers the load generator's process."""

import asyncio
import json
import sys
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Figures:
    """Totals since the generator started, at a moment of the monotonic clock."""

    at: float
    tokens: dict[str, int]
    completed: int
    failed: int
    error: str | None

    @property
    def all_tokens(self) -> int:
        return sum(self.tokens.values())


class LoadDriver:
    """``async with LoadDriver() as load``: the process lives as long as the block and dies with it."""

    def __init__(self) -> None:
        self.history: list[Figures] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "e2e.load.worker", cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._reader:
            await self._reader

    async def start(self, targets: dict[str, str], style: str, clients: int, seed: str) -> None:
        """Begin a phase with so many clients per target; 0 clients is silence."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the load generator is not running")
        command = {"targets": targets, "style": style, "clients": clients, "seed": seed}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    @property
    def last(self) -> Figures:
        """The latest figures; zeros before the first."""
        return self.history[-1] if self.history else Figures(0.0, {}, 0, 0, None)

    def tokens_per_second(self, begin: float, end: float) -> float | None:
        """Tokens delivered to clients per second between two moments; None where the figures do not span them."""
        return token_rate(self.history, begin, end)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while line := await process.stdout.readline():
            self.history.append(Figures(**json.loads(line)))


def token_rate(history: list[Figures], begin: float, end: float) -> float | None:
    """Rate between the first figures from ``begin`` on and the last up to ``end``; None with fewer than two."""
    first = bisect_left(history, begin, key=lambda figures: figures.at)
    last = bisect_left(history, end, key=lambda figures: figures.at) - 1
    if last <= first:
        return None
    seconds = history[last].at - history[first].at
    return (history[last].all_tokens - history[first].all_tokens) / seconds
