"""Tokens per second of every engine, from its own count of them: what it delivers, beside what it expects to."""

from collections.abc import Iterable
from dataclasses import dataclass

from turbospec.wire.engine_state import EngineState

WINDOW_SECONDS = 10.0
"""As long as a policy's status is kept before it is brought up to date."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Since when tokens are counted, how many there were by then, and the rate of the window before."""

    uptime_seconds: float
    tokens: int
    rate: float | None


class TokenRates:
    """The rate of each engine over its last full window. Engines are known by their ids, new with every start."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def of(self, state: EngineState) -> float | None:
        """The rate now that this was heard; None until a window has passed. Times are the engine's own."""
        uptime, tokens = state.uptime_seconds, state.counters.generated_tokens
        window = self._windows.get(state.engine.id)
        if window is None or tokens < window.tokens:
            self._windows[state.engine.id] = _Window(uptime, tokens, None)
            return None
        passed = uptime - window.uptime_seconds
        if passed < WINDOW_SECONDS:
            return window.rate
        rate = (tokens - window.tokens) / passed
        self._windows[state.engine.id] = _Window(uptime, tokens, rate)
        return rate

    def keep(self, engine_ids: Iterable[str]) -> None:
        """Forget all engines but these."""
        there = set(engine_ids)
        self._windows = {engine: window for engine, window in self._windows.items() if engine in there}
