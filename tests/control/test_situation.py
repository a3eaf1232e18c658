"""What the engine works on beside its batch, and when a table made for it is out of date."""

import pytest

from turbospec.control.situation import LIFE_STEPS, SituationMonitor
from turbospec.control.step import StepRecord


def _steps(count: int, prefill_every: int, prompt: int, decodes: int = 100) -> list[StepRecord]:
    return [
        StepRecord(
            seq=seq,
            ended_seconds=0.02 * seq,
            interval_seconds=0.02,
            interval_draft_tokens=0,
            decided_draft_tokens=0,
            decodes=decodes,
            prefill_tokens=prompt if seq % prefill_every == 0 else 0,
            kv_tokens=decodes * 300,
            waiting=0,
            generated_tokens=decodes,
            verified_draft_tokens=0,
            asked_draft_tokens=0,
            drafting_requests=0,
            drafted_per_position=(0,),
            accepted_per_position=(0,),
        )
        for seq in range(count)
    ]


def test_prefill_that_spreads_over_more_steps_outdates_a_table_only_where_there_are_graphs() -> None:
    """As many prompt tokens in lumps of a quarter: four times as many steps leave the captured graphs for them."""
    monitor = SituationMonitor()
    for _ in range(50):
        monitor.learn(_steps(32, 8, 2048))
    planned = monitor.situation(None, 0.0)
    assert not monitor.moved(planned, graphs=True)
    for _ in range(50):
        monitor.learn(_steps(32, 2, 512))
    now = monitor.situation(None, 0.0)
    assert abs(now.prefill_ratio - planned.prefill_ratio) < 0.05 * planned.prefill_ratio
    assert monitor.moved(planned, graphs=True)
    assert not monitor.moved(planned, graphs=False)


def test_noise_in_what_is_seen_of_prefill_leaves_it_as_planned() -> None:
    """Where steps just fit into a graph, a tenth more or less would change the table for ever."""
    monitor = SituationMonitor()
    for _ in range(50):
        monitor.learn(_steps(32, 8, 500))
    planned = monitor.situation(None, 0.0)
    for _ in range(50):
        monitor.learn(_steps(32, 8, 530))
    assert monitor.situation(None, 0.0, planned).prefill_sizes == planned.prefill_sizes
    assert monitor.situation(None, 0.0).prefill_sizes != planned.prefill_sizes
    for _ in range(80):
        monitor.learn(_steps(32, 8, 900))
    assert monitor.situation(None, 0.0, planned).prefill_sizes == (900.0,) * 3


def test_prompts_of_clients_that_begin_together_say_nothing_of_those_that_follow() -> None:
    """Steps without decodes do not count, and another load is counted anew."""
    monitor = SituationMonitor()
    monitor.learn(_steps(4, 1, 8192, decodes=0))
    assert monitor.situation(None, 0.0).prefill_sizes == ()
    monitor.learn(_steps(32, 1, 4000, decodes=20))
    monitor.learn(_steps(32, 4, 256))
    now = monitor.situation(None, 0.0)
    assert now.prefill_sizes == (256.0,) * 3
    assert now.prefill_share == 0.25


def test_sizes_of_prefill_are_spread_like_those_seen() -> None:
    """The mean alone would hide that half of the prompts do not fit."""
    monitor = SituationMonitor()
    for prompt in (100, 200, 300, 400, 500, 600):
        monitor.learn(_steps(8, 8, prompt))
    assert monitor.situation(None, 0.0).prefill_sizes == (200.0, 400.0, 600.0)


def test_the_prompts_of_an_engines_first_steps_are_a_part_of_a_requests_life() -> None:
    """An engine that has just begun gets everybody's prompts: what no ceiling can hold then it holds a moment later."""
    monitor = SituationMonitor()
    monitor.learn(_steps(16, 1, 1000))
    first = monitor.situation(None, 1e-5).prefill_seconds
    assert first == pytest.approx(0.01 * 16 / LIFE_STEPS)
    for _ in range(50):
        monitor.learn(_steps(32, 10, 1000))
    assert monitor.situation(None, 1e-5).prefill_seconds == pytest.approx(0.001, rel=0.3)
