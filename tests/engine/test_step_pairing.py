"""Every record pairs its interval with the K that the interval was really spent on, or gives no interval."""

from itertools import pairwise

import pytest

from tests.engine.support import Rig, make_rig
from turbospec.control.step import StepRecord


@pytest.fixture
def sync(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A model-runner-V1 engine: drafts are proposed before a step completes."""
    return make_rig(monkeypatch)


@pytest.fixture
def lagged(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """An asynchronous model-runner-V2 engine: drafts are proposed after a step's tokens are out."""
    return make_rig(monkeypatch, asynchronous=True)


def record(found: StepRecord | None) -> StepRecord:
    assert found is not None
    return found


def test_the_first_step_and_the_first_after_an_empty_queue_have_no_interval(sync: Rig) -> None:
    """What passed before them is not their work."""
    sync.scheduler.add("a")
    assert record(sync.step()).interval_seconds is None
    sync.step()
    assert record(sync.step()).interval_seconds == pytest.approx(0.01)
    sync.scheduler.finish("a")
    sync.runtime.telemetry.drained()
    sync.clock.now += 5.0
    sync.scheduler.add("b")
    assert record(sync.step()).interval_seconds is None


def test_a_queue_that_empties_in_a_step_is_noticed_by_that_step(sync: Rig) -> None:
    """The runtime itself sees that nothing is left, without being told."""
    sync.scheduler.add("a")
    sync.step()
    sync.step()
    output = sync.scheduler.schedule()
    sync.scheduler.finish("a")
    from tests.engine.fakes import model_output

    sync.scheduler.update_from_output(output, model_output(output))
    sync.clock.now += 30.0
    sync.scheduler.add("b")
    assert record(sync.step()).interval_seconds is None


def test_on_v1_the_interval_of_a_swap_step_is_dropped(sync: Rig) -> None:
    """It holds verification at the old K and drafting at the new one: it belongs to neither."""
    sync.scheduler.add("a")
    for _ in range(3):
        sync.step()
    sync.force(2)
    swap = record(sync.step(0.5))
    assert (swap.decided_draft_tokens, swap.asked_draft_tokens, swap.interval_seconds) == (2, 5, None)
    assert swap.verified_draft_tokens == 5
    after = record(sync.step(0.02))
    assert (after.interval_draft_tokens, after.verified_draft_tokens) == (2, 2)
    assert after.interval_seconds == pytest.approx(0.02)


def test_on_v2_every_interval_belongs_to_the_k_decided_a_step_earlier(lagged: Rig) -> None:
    """With a step always in flight, drafts and verification in an interval are both of the earlier decision."""
    lagged.scheduler.add("a")
    lagged.schedule()
    decided = [5]
    for k in [5, 5, 1, 1, 3, 0, 0, 5]:
        lagged.force(k)
        lagged.schedule()
        decided.append(k)
        lagged.complete()
    while lagged.in_flight:
        lagged.complete()
    records = lagged.runtime.ring.last(100)
    assert [r.decided_draft_tokens for r in records] == decided
    for before, now in pairwise(records):
        assert now.interval_seconds == pytest.approx(0.01)
        assert now.interval_draft_tokens == before.decided_draft_tokens == now.asked_draft_tokens
        assert now.verified_draft_tokens == before.decided_draft_tokens * now.decodes


def test_an_empty_schedule_while_a_step_is_in_flight_does_not_break_the_chain(lagged: Rig) -> None:
    """An asynchronous engine schedules nothing when all its requests are about to end; the accelerator is
    still busy."""
    lagged.scheduler.add("a")
    lagged.schedule()
    lagged.complete()
    lagged.schedule()
    held, lagged.scheduler.running = lagged.scheduler.running, []
    empty = lagged.scheduler.schedule()
    lagged.scheduler.running = held
    lagged.complete(0.03)
    newest = record(lagged.runtime.ring.newest())
    assert newest.interval_seconds == pytest.approx(0.03)
    from tests.engine.fakes import model_output

    lagged.scheduler.update_from_output(empty, model_output(empty))
    assert lagged.runtime.ring.newest() is newest


def test_prefill_and_decodes_of_one_step_are_told_apart(sync: Rig) -> None:
    """A prompt of 100 tokens beside two drafting decodes: 2 decodes, 100 prefill tokens, context of all three."""
    sync.scheduler.add("a", prompt_tokens=10)
    sync.scheduler.add("b", prompt_tokens=20)
    first = record(sync.step())
    assert (first.decodes, first.prefill_tokens, first.kv_tokens) == (0, 30, 0)
    sync.scheduler.add("c", prompt_tokens=100)
    mixed = record(sync.step())
    assert (mixed.decodes, mixed.prefill_tokens, mixed.kv_tokens) == (2, 100, 30)
    assert mixed.verified_draft_tokens == 10
    assert mixed.drafting_requests == 2


def test_counts_by_position_follow_what_was_drafted_and_accepted(sync: Rig) -> None:
    """A drafter that yields 5 and 2 tokens, of which up to 3 are accepted."""
    sync.scheduler.add("a")
    sync.scheduler.add("b")
    sync.step(draft_lengths={"a": 5, "b": 2})
    counted = record(sync.step(accepted=3))
    assert counted.drafted_per_position == (2, 2, 1, 1, 1)
    assert counted.accepted_per_position == (2, 2, 1, 0, 0)
    assert (counted.drafting_requests, counted.asked_draft_tokens, counted.generated_tokens) == (2, 5, 7)
    totals = sync.runtime.telemetry.totals
    assert (totals.drafts, totals.draft_tokens, totals.accepted_tokens) == (2, 7, 5)


def test_own_counts_equal_those_of_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine with --disable-log-stats learns the same from the same steps."""
    results = []
    for log_stats in (True, False):
        rig = make_rig(monkeypatch, log_stats=log_stats)
        for name in "abc":
            rig.scheduler.add(name)
        for turn in range(12):
            rig.step(accepted=turn % 4, draft_lengths={"a": 5, "b": turn % 5, "c": 0})
        results.append([(r.drafted_per_position, r.accepted_per_position) for r in rig.runtime.ring.last(100)])
    assert results[0] == results[1]
    assert any(sum(drafted) for drafted, _ in results[0])


def test_a_fully_cached_prompt_is_a_decode_that_nobody_drafted_for(sync: Rig) -> None:
    """It would otherwise count as a request whose drafter yielded nothing."""
    sync.scheduler.add("a")
    sync.step()
    sync.scheduler.add("b", prompt_tokens=50)
    sync.scheduler.requests["b"].num_computed_tokens = 49
    counted = record(sync.step())
    assert (counted.decodes, counted.drafting_requests, counted.prefill_tokens) == (2, 1, 0)


def test_at_k_0_nobody_was_asked(sync: Rig) -> None:
    """Steps at K=0 say nothing of the drafter's yield."""
    sync.force(0)
    sync.scheduler.add("a")
    sync.step()
    counted = record(sync.step())
    assert (counted.asked_draft_tokens, counted.drafting_requests, counted.verified_draft_tokens) == (0, 0, 0)


def test_outputs_that_never_come_back_do_not_pile_up(lagged: Rig) -> None:
    """An engine that resets itself drops steps in flight; the next interval is then dropped as well."""
    lagged.scheduler.add("a")
    for _ in range(100):
        lagged.scheduler.schedule()
    lagged.schedule()
    assert record(lagged.complete()).interval_seconds is None


@pytest.mark.parametrize("log_stats", [True, False])
def test_requests_that_ended_while_a_step_was_in_flight_are_no_evidence(
    monkeypatch: pytest.MonkeyPatch, log_stats: bool
) -> None:
    """The step still works on them, but their tokens reach nobody and vLLM does not count their drafts: they must not
    look like requests for which the drafter found nothing."""
    rig = make_rig(monkeypatch, asynchronous=True, log_stats=log_stats)
    for name in "abc":
        rig.scheduler.add(name)
    rig.schedule()
    rig.schedule()
    rig.complete()
    rig.scheduler.finish("b")
    rig.schedule()
    last_with_b = record(rig.complete(accepted=2))
    assert (last_with_b.decodes, last_with_b.verified_draft_tokens) == (3, 15)
    assert (last_with_b.drafting_requests, last_with_b.generated_tokens) == (2, 6)
    assert last_with_b.drafted_per_position == (2, 2, 2, 2, 2)
    after = record(rig.complete(accepted=2))
    assert (after.decodes, after.drafting_requests, after.generated_tokens) == (2, 2, 6)


def test_a_step_after_which_vllm_drafts_nothing_is_recorded_with_that(lagged: Rig) -> None:
    """The interval after it holds neither drafting nor verification, and no request is missing a draft: a cheap step
    without drafts must not be taken for one of K = 5, nor its yield for 0."""
    lagged.scheduler.add("a")
    lagged.schedule()
    for skipped in (False, False, True, False, False):
        lagged.scheduler.skip_drafts = skipped
        lagged.schedule()
        lagged.complete()
    while lagged.in_flight:
        lagged.complete()
    records = lagged.runtime.ring.last(10)
    assert [one.decided_draft_tokens for one in records] == [5, 5, 5, 0, 5, 5]
    assert [one.interval_draft_tokens for one in records[1:]] == [5, 5, 5, 0, 5]
    after = records[4]
    assert (after.verified_draft_tokens, after.asked_draft_tokens, after.drafting_requests) == (0, 0, 0)
