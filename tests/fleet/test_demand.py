"""What is offered to engines, from their cumulative counts."""

import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.fleet.demand import (
    LENGTH_HALF_LIFE_SECONDS,
    MIN_REQUESTS,
    MIN_SECONDS,
    RATE_HALF_LIFE_SECONDS,
    DemandMemory,
    RequestCounts,
    between,
    demand,
    forget_rate,
    lengths,
    observe,
)

ROUND = 2.0


def served(
    memory: DemandMemory, rounds: int, *, requests: int = 20, prompt: int = 100, cached: int = 0, output: int = 50
) -> DemandMemory:
    """So many requests came and as many finished in each round."""
    happened = RequestCounts(
        requests, requests, requests * prompt, requests * (prompt - cached), requests, requests * output
    )
    for _ in range(rounds):
        memory = observe(memory, happened, ROUND)
    return memory


def rate(memory: DemandMemory) -> float:
    found = demand(memory, 0.0)
    assert found is not None
    return found.requests_per_second


def means(memory: DemandMemory) -> tuple[float, float, float] | None:
    found = lengths(memory)
    return None if found is None else (found.prompt_tokens, found.prefill_tokens, found.output_tokens)


def test_a_steady_stream_is_what_it_is() -> None:
    memory = served(DemandMemory(), 60, cached=30)
    assert rate(memory) == pytest.approx(10.0)
    assert means(memory) == pytest.approx((100.0, 70.0, 50.0))


def test_nothing_is_said_before_enough_was_seen() -> None:
    """An operator that has just started says unknown, and neither zero nor the rate of its first two seconds."""
    rounds = int(MIN_SECONDS / ROUND)
    assert demand(served(DemandMemory(), rounds - 1), 0.0) is None
    assert demand(served(DemandMemory(), rounds), 0.0) is not None
    assert lengths(DemandMemory()) is None
    assert lengths(served(DemandMemory(), 1, requests=int(MIN_REQUESTS) - 1)) is None


def test_twice_the_arrivals_show_within_two_minutes() -> None:
    memory = served(DemandMemory(), 150)
    assert rate(served(memory, int(2 * RATE_HALF_LIFE_SECONDS / ROUND), requests=40)) == pytest.approx(17.5, rel=0.01)
    assert rate(served(memory, 60, requests=40)) == pytest.approx(20.0, rel=0.05)


def test_lengths_follow_and_outlast_silence() -> None:
    memory = served(DemandMemory(), 150)
    longer = lengths(served(memory, int(2 * LENGTH_HALF_LIFE_SECONDS / ROUND), prompt=400, output=80))
    assert longer is not None
    assert longer.prompt_tokens == pytest.approx(325.0, rel=0.1)
    night = served(memory, 20_000, requests=0)
    assert means(night) == pytest.approx((100.0, 100.0, 50.0))
    assert rate(night) == pytest.approx(0.0, abs=1e-6)


def test_a_gap_in_the_observation_is_no_quiet_time() -> None:
    memory = forget_rate(served(DemandMemory(), 60))
    assert demand(memory, 0.0) is None
    assert lengths(memory) is not None
    assert rate(served(memory, 20)) == pytest.approx(10.0)


def test_recomputed_prompts_are_no_longer_prompts() -> None:
    found = lengths(served(DemandMemory(), 60, cached=-500))
    assert found is not None
    assert found.prefill_tokens == found.prompt_tokens


def test_counts_that_went_backwards_are_another_process() -> None:
    before = RequestCounts(10, 9, 1000, 900, 8, 400)
    assert between(before, RequestCounts(12, 12, 1300, 1000, 9, 450)) == RequestCounts(2, 3, 300, 100, 1, 50)
    assert between(before, RequestCounts(2, 12, 1300, 1000, 9, 450)) is None


counts = st.builds(RequestCounts, *(st.integers(0, 1000),) * 6)


@given(st.lists(st.tuples(counts, st.floats(-10.0, 1e6)), max_size=50))
def test_every_history_gives_numbers(history: list[tuple[RequestCounts, float]]) -> None:
    memory = DemandMemory()
    for happened, elapsed in history:
        memory = observe(memory, happened, elapsed)
    assert all(0.0 <= value < math.inf for value in asdict(memory).values() if not isinstance(value, dict))
    found, mean = demand(memory, 0.0), lengths(memory)
    assert found is None or 0.0 <= found.requests_per_second < math.inf
    assert mean is None or (0.0 <= mean.prefill_tokens <= mean.prompt_tokens and mean.output_tokens > 0.0)
