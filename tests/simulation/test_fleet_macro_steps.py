"""Macro steps against the engine that takes every step by itself."""

from typing import Any

import pytest

from tests.simulation.fleet_builders import Served, day_of, macrowise, scenario, stepwise

H100 = {
    "secondsPerKvToken": 3.9e-8,
    "secondsPerBatchedToken": 2.1e-5,
    "secondsPerStep": 5.9e-3,
    "draftSecondsPerKvToken": 2.4e-9,
    "draftSecondsPerToken": 8.4e-7,
    "draftSecondsPerPass": 2.1e-3,
    "overheadSeconds": 1.2e-3,
}
LARGE = {
    "stepTime": {
        "linear": {**H100, "secondsPerStep": 1.9e-2, "secondsPerBatchedToken": 8e-5, "secondsPerKvToken": 8e-8}
    },
    "maxNumSeqs": 128,
    "kvCacheTokens": 450_000,
    "maxNumBatchedTokens": 8192,
}
TABLE = {
    "stepTime": {
        "table": {
            "batch": [1, 16, 64],
            "draftTokens": [0, 3, 7],
            "milliseconds": [[7, 9, 12], [8, 10, 13], [9, 13, 21]],
        }
    },
    "graph": {"paddedTo": [1, 2, 4, *range(8, 513, 8)], "eagerFactor": 1.4},
}
PART: dict[str, Any] = {
    "seconds": 200,
    "promptTokens": 200,
    "outputTokens": 150,
    "lengthSpread": 0.5,
    "acceptance": [0.7, 0.6, 0.5],
}
MANY_SEATS: dict[str, Any] = {"kvCacheTokens": 450_000, "maxNumSeqs": 256}
SMALL_CACHE: dict[str, Any] = {"kvCacheTokens": 90_000}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("few requests", {"requestsPerSecond": 2, "seconds": 600}, {}, 0),
    ("busy, no drafts", {"requestsPerSecond": 15}, {}, 0),
    ("busy, three drafts", {"requestsPerSecond": 12, "promptTokens": 1500, "outputTokens": 250}, LARGE | {
        "stepTime": {"linear": H100}}, 3),
    ("slow steps", {"requestsPerSecond": 4, "promptTokens": 800, "outputTokens": 300, "seconds": 400}, LARGE, 3),
    ("as many requests as there are seats", {"requestsPerSecond": 60}, {}, 0),
    ("more prompts than a step holds", {"requestsPerSecond": 40, "promptTokens": 1500}, MANY_SEATS, 1),
    ("text that differs", {"requestsPerSecond": 15, "outputTokens": 250, "acceptanceSpread": 0.15}, {}, 3),
    ("a table, and graphs", {"requestsPerSecond": 20, "outputTokens": 250}, TABLE, 3),
]  # fmt: skip


@pytest.mark.parametrize(("load", "engine", "k"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_macro_steps_are_within_one_percent(load: dict[str, Any], engine: dict[str, Any], k: int) -> None:
    """Of goodput and time per output token always; of latency and, within a millisecond, time to first token where the
    engine keeps up (in a growing queue a percent of goodput is many of waiting)."""
    given = scenario(engine, load=[{**PART, **load}])
    day = day_of(given)
    true, macro = stepwise(given, day, k), macrowise(given, day, k)
    assert macro.goodput == pytest.approx(true.goodput, rel=0.01)
    assert macro.seconds_per_token == pytest.approx(true.seconds_per_token, rel=0.01)
    if _keeps_up(true):
        assert macro.latency == pytest.approx(true.latency, rel=0.01)
        assert macro.first_token == pytest.approx(true.first_token, rel=0.01, abs=1e-3)


def test_a_full_cache_is_within_six_percent() -> None:
    """Who is preempted is decided once in a macro step: where the queue grows for ever because the KV cache is full."""
    part = {**PART, "requestsPerSecond": 30, "promptTokens": 2000, "outputTokens": 250}
    given = scenario(SMALL_CACHE, load=[part])
    day = day_of(given)
    assert macrowise(given, day, 1).goodput == pytest.approx(stepwise(given, day, 1).goodput, rel=0.06)


def _keeps_up(served: Served) -> bool:
    return served.first_token < 0.5
