"""Acceptance from cumulative counters."""

import random

import pytest

from tests.fleet.builders import NOW, report
from turbospec.fleet.evidence import HALF_LIFE_SECONDS, observe
from turbospec.fleet.memory import EngineMemory
from turbospec.fleet.snapshot import PositionCounts


def seen(*rounds: tuple[float, tuple[int, ...], tuple[int, ...]]) -> EngineMemory:
    memory = EngineMemory("engine-1", NOW)
    for seconds, drafted, accepted in rounds:
        memory = observe(memory, report(counts=PositionCounts(drafted, accepted)), NOW + seconds)
    return memory


def ratio(memory: EngineMemory, position: int) -> float:
    entry = memory.evidence[position]
    assert entry is not None
    return entry.successes / entry.trials


def test_first_report_is_a_base_and_no_evidence() -> None:
    """What an engine did before we looked says nothing about now."""
    assert seen((0, (100,), (90,))).evidence == ()


def test_acceptance_is_conditional_by_position() -> None:
    """100 drafts of 2: 80 accepted beyond 0, 20 beyond 1: 0.8 and, given the first, 0.25."""
    memory = seen((0, (0, 0), (0, 0)), (2, (100, 100), (80, 20)))
    assert ratio(memory, 0) == pytest.approx(0.8)
    assert ratio(memory, 1) == pytest.approx(0.25)


def test_short_drafts_do_not_count_against_deep_positions() -> None:
    """Half of the drafts have one token only: position 1 is judged by the others."""
    memory = seen((0, (0, 0), (0, 0)), (2, (100, 50), (80, 20)))
    assert ratio(memory, 1) == pytest.approx(0.5)


def test_mixed_lengths_give_the_true_acceptance() -> None:
    """Drafts of random length against constant acceptance 0.7 at every position."""
    rng = random.Random(1)  # noqa: S311 -- nothing here is secret
    drafted, accepted = [0] * 4, [0] * 4
    for _ in range(40_000):
        length = rng.choice((1, 2, 4))
        taken = next((j for j in range(length) if rng.random() >= 0.7), length)
        for j in range(length):
            drafted[j] += 1
            accepted[j] += j < taken
    memory = seen((0, (0,) * 4, (0,) * 4), (2, tuple(drafted), tuple(accepted)))
    for position in range(4):
        assert ratio(memory, position) == pytest.approx(0.7, abs=0.02)


def test_old_evidence_halves_and_is_never_lost() -> None:
    """Weight fades with time, the ratio stays until something newer is known."""
    base = ((0.0, (0,), (0,)), (2.0, (100,), (80,)))
    faded = seen(*base, (2 + HALF_LIFE_SECONDS, (100,), (80,))).evidence[0]
    assert faded is not None
    assert faded.trials == pytest.approx(50.0)
    old = seen(*base, (5000, (100,), (80,)))
    assert ratio(old, 0) == pytest.approx(0.8)
    entry = old.evidence[0]
    assert entry is not None
    assert entry.trials == pytest.approx(1.0)
    assert entry.seen_seconds == NOW + 2


def test_counters_that_go_backwards_start_anew() -> None:
    """A wrap or a reset is no negative evidence."""
    memory = seen((0, (0,), (0,)), (2, (100,), (50,)), (4, (10,), (1,)))
    assert ratio(memory, 0) == pytest.approx(0.5)
    memory = seen((0, (100,), (90,)), (2, (10,), (1,)), (4, (20,), (11,)))
    assert ratio(memory, 0) == pytest.approx(1.0)


def test_context_is_kept_while_the_engine_idles() -> None:
    """No decodes is no context of 0."""
    memory = observe(EngineMemory("engine-1", NOW), report(decodes=4, kv_tokens=4000), NOW)
    memory = observe(memory, report(decodes=0, kv_tokens=0, running=0), NOW + 2)
    assert memory.context_tokens == 1000
