"""What the engine works on beside its batch, and when a table made for it is out of date."""

from turbospec.control.situation import SituationMonitor
from turbospec.control.step import StepRecord


def _steps(count: int, prefill_every: int, prompt: int) -> list[StepRecord]:
    return [
        StepRecord(
            seq=seq,
            ended_seconds=0.02 * seq,
            interval_seconds=0.02,
            interval_draft_tokens=0,
            decided_draft_tokens=0,
            decodes=100,
            prefill_tokens=prompt if seq % prefill_every == 0 else 0,
            kv_tokens=100 * 300,
            waiting=0,
            generated_tokens=100,
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
