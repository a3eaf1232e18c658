"""Tokens per second, measured by the engine's own count and clock."""

from typing import Any

from tests.operator.samples import engine_state
from turbospec.wire.engine_state import EngineState
from turbospec_operator.token_rates import WINDOW_SECONDS, TokenRates


def state(uptime: float, tokens: int, engine_id: str = "engine-1") -> EngineState:
    raw: dict[str, Any] = engine_state()
    raw["uptimeSeconds"] = uptime
    raw["counters"] = raw["counters"] | {"generatedTokens": tokens}
    raw["engine"] = raw["engine"] | {"id": engine_id}
    return EngineState.model_validate(raw)


def test_a_rate_is_that_of_the_last_full_window() -> None:
    """Nothing is known before; between two windows the rate of the last one stays."""
    rates = TokenRates()
    heard = [(0, 0), (5, 400), (10, 1000), (12, 1000), (20, 1500), (30, 1500)]
    assert [rates.of(state(uptime, tokens)) for uptime, tokens in heard] == [None, None, 100, 100, 50, 0]


def test_engines_do_not_share_a_rate() -> None:
    """Each has a count and a clock of its own."""
    rates = TokenRates()
    for uptime, one, two in ((0, 0, 500), (WINDOW_SECONDS, 10, 600)):
        found = rates.of(state(uptime, one, "one")), rates.of(state(uptime + 99, two, "two"))
    assert found == (1, 10)


def test_an_engine_that_starts_anew_or_was_away_begins_a_new_window() -> None:
    """Its count of before is not subtracted."""
    rates = TokenRates()
    rates.of(state(100, 5000))
    assert rates.of(state(120, 10)) is None, "a counter that went back"
    rates.keep(["another"])
    assert rates.of(state(200, 90_000)) is None, "an engine that was not heard of"
