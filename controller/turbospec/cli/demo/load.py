"""The load of the demo: what each engine is sent, and how that changes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from turbospec.standin.engine import StandInEngine
from turbospec.standin.generation import Generation

PROMPT_TOKENS, OUTPUT_TOKENS = 200, 120


@dataclass(frozen=True, slots=True)
class Phase:
    """So many clients, each with one request at a time, whose drafts are accepted at this rate at every position."""

    clients: int
    acceptance: float
    text: str

    def __str__(self) -> str:
        return f"{self.clients} client{'' if self.clients == 1 else 's'}, {self.text}"


PHASES = (
    Phase(1, 0.85, "predictable text"),
    Phase(8, 0.55, "ordinary text"),
    Phase(96, 0.55, "ordinary text"),
    Phase(8, 0.15, "hard text"),
)
"""Drafts pay most in the first, least in the last two: in the one for load, in the other for text."""


class Load:
    """Clients of every engine. The engines go through the phases one after the other, each one phase behind."""

    def __init__(self, engines: Mapping[str, StandInEngine], phases: tuple[Phase, ...] = PHASES) -> None:
        self._engines = engines
        self._phases = phases
        self._tasks: dict[str, list[asyncio.Task[None]]] = {name: [] for name in engines}

    def phase(self, name: str, turn: int) -> Phase:
        """What this engine is sent in this turn."""
        return self._phases[(turn + list(self._engines).index(name)) % len(self._phases)]

    def turn(self, turn: int) -> None:
        """From now on the clients of this turn; those of the one before hang up."""
        for name, engine in self._engines.items():
            for task in self._tasks[name]:
                task.cancel()
            phase = self.phase(name, turn)
            self._tasks[name] = [asyncio.create_task(_client(engine, phase)) for _ in range(phase.clients)]

    async def stop(self) -> None:
        """No more requests."""
        tasks = [task for found in self._tasks.values() for task in found]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _client(engine: StandInEngine, phase: Phase) -> None:
    """One request after the other, until cancelled."""
    while True:
        request = engine.request(PROMPT_TOKENS, OUTPUT_TOKENS, (phase.acceptance,))
        generation = Generation(request, asyncio.Event(), streamed=False, reason="length", max_tokens=OUTPUT_TOKENS)
        engine.submit(generation)
        try:
            await generation.changed.wait()
        finally:
            if not generation.finished:
                engine.cancel(generation)
