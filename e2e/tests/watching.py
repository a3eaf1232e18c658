"""Watching engines under load: what their own step records say, engine by engine and second by second."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.demo.engines import Engines
from e2e.demo.samples import Step, StepSummary, summarise
from e2e.load.driver import LoadDriver

LOOK_SECONDS = 0.25
ARRIVED_SHARE = 0.75
"""Of many clients some are always between two requests."""
took_seconds: list[tuple[str, float]] = []
"""What was waited for, and how long it took, for the report at the end."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """For the same report: how long a part of the preparation took."""
    begin = time.monotonic()
    yield
    took_seconds.append((what, time.monotonic() - begin))


@dataclass
class Watch:
    """Reads the step records of all engines; ``rows`` keeps (monotonic second read, row) by pod."""

    engines: Engines
    rows: dict[str, list[tuple[float, Step]]] = field(default_factory=dict)

    async def look(self) -> None:
        """Read what is new."""
        await self.engines.new_steps()
        now = time.monotonic()
        for engine in self.engines.all:
            self.rows.setdefault(engine.pod, []).extend((now, row) for row in engine.latest)

    def recent(self, pod: str, seconds: float) -> StepSummary:
        """The steps of one engine in the last so many seconds."""
        begin = time.monotonic() - seconds
        return summarise(row for seen, row in self.rows.get(pod, []) if seen >= begin)

    async def for_seconds(self, seconds: float) -> dict[str, StepSummary]:
        """Watch for a while; one summary per engine of just that while."""
        await self.look()
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()
        return {engine.pod: self.recent(engine.pod, time.monotonic() - begin) for engine in self.engines.all}

    async def until_all(
        self, holds: Callable[[StepSummary], bool], within_seconds: float, over_seconds: float = 1.0
    ) -> float | None:
        """Seconds until ``holds`` is true of the last ``over_seconds`` of every engine at once; None if never in time.

        Steps from before the call do not count, and a stretch without decoding steps proves nothing.
        """
        begin = time.monotonic()
        await self.look()
        self.rows.clear()
        while (spent := time.monotonic() - begin) < within_seconds:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()
            seen = [self.recent(engine.pod, over_seconds) for engine in self.engines.all]
            if spent >= over_seconds and all(each.mean_draft_tokens is not None and holds(each) for each in seen):
                return time.monotonic() - begin
        return None

    async def describe(self) -> str:
        """The last seconds of every engine and what it says of itself, for a failed assertion."""
        lines = []
        for engine, state in zip(self.engines.all, await self.engines.states(), strict=True):
            each = self.recent(engine.pod, 2.0)
            figures = f"K {each.mean_draft_tokens}, batch {each.mean_batch}, acceptance {each.acceptance_rate}"
            lines.append(f"{engine.pod}: {figures}; {state.model_dump_json(exclude_none=True)}")
        return "\n".join(lines)


@dataclass
class Fleet:
    """Engines, the watch on them and the load upon them, for one test."""

    watch: Watch
    load: LoadDriver

    async def send(self, acceptance: float, clients: int) -> None:
        """From now on so many clients per engine send prompts of this acceptance."""
        seed = str(time.monotonic_ns())
        await self.load.start(self.watch.engines.targets, f"dial:{acceptance}", clients, seed)

    async def follows(
        self, acceptance: float, clients: int, holds: Callable[[StepSummary], bool], within_seconds: float, what: str
    ) -> None:
        """Change the load, and fail unless every engine decodes it and shows ``holds`` in time, all from the change."""
        await self.send(acceptance, clients)
        await self.settles(lambda seen: _arrived(seen, clients) and holds(seen), within_seconds, what)

    async def settles(self, holds: Callable[[StepSummary], bool], within_seconds: float, what: str) -> None:
        """Fails where not every engine shows it in time from now."""
        took = await self.watch.until_all(holds, within_seconds)
        assert took is not None, f"{what}: not within {within_seconds:.0f} s: {await self.watch.describe()}"
        took_seconds.append((what, took))
        assert self.load.last.failed == 0, self.load.last.error


def _arrived(seen: StepSummary, clients: int) -> bool:
    return ARRIVED_SHARE * clients <= (seen.mean_batch or 0.0) <= clients


def is_high(summary: StepSummary) -> bool:
    """Mean K of at least 2.5 of at most 5."""
    return (summary.mean_draft_tokens or 0.0) >= 2.5


def is_low(summary: StepSummary) -> bool:
    """Mean K of at most 1.5: 0 or 1, and now and then a probe that keeps the acceptance known."""
    return summary.mean_draft_tokens is not None and summary.mean_draft_tokens <= 1.5
