"""What must hold in every run: no token appears or is lost, and no limit of the engine is exceeded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.builders import delivered, engine_file, observed, phase
from turbospec.control.step import StepRecord

KS = st.sampled_from([0, 1, 3, 7])


@settings(max_examples=25)
@given(
    k=KS,
    clients=st.integers(1, 40),
    prompt=st.integers(1, 3000),
    output=st.integers(1, 80),
    kv=st.integers(4000, 20_000),
    seed=st.integers(0, 99),
    draft_yield=st.floats(0.0, 1.0),
)
def test_nothing_is_lost_and_no_limit_is_exceeded(  # noqa: PLR0917 - hypothesis passes them by name
    k: int, clients: int, prompt: int, output: int, kv: int, seed: int, draft_yield: float
) -> None:
    """Steps deliver exactly the requests' tokens; KV cache, token budget and running requests stay within bounds."""
    spec = engine_file(kvCacheTokens=kv, maxNumBatchedTokens=256)
    load = phase(seconds=1, clients=clients, promptTokens=prompt, outputTokens=output, draftYield=draft_yield)
    run, spy = observed(spec, [load], seed=seed, k=k)
    assert sum(record.generated_tokens for record in spy.records) == delivered(run.requests)
    assert max(spy.kv_tokens) <= kv
    assert max(spy.running) <= spec.max_num_seqs
    assert all(r.decodes + r.verified_draft_tokens + r.prefill_tokens <= 256 for r in spy.records)
    assert not spy.engine.busy
    assert spy.engine.kv_tokens == 0
    assert spy.engine.batch.tokens_sum.tolist() == [0.0] * 8


@settings(max_examples=15)
@given(k=KS, seed=st.integers(0, 99), draft_yield=st.floats(0.0, 1.0))
def test_records_agree_with_themselves(k: int, seed: int, draft_yield: float) -> None:
    """Counts by position fall, sum up to the drafts, and each step verifies what was decided in the one before."""
    load = phase(clients=9, outputTokens=50, draftYield=[1.0, draft_yield], acceptanceSpread=0.1)
    _, spy = observed(engine_file(), [load], seed=seed, k=k)
    before = 0
    for record in spy.records:
        _check(record)
        assert record.asked_draft_tokens == record.interval_draft_tokens == before
        before = record.decided_draft_tokens


def _check(record: StepRecord) -> None:
    drafted, accepted = record.drafted_per_position, record.accepted_per_position
    assert list(drafted) == sorted(drafted, reverse=True)
    assert list(accepted) == sorted(accepted, reverse=True)
    assert all(a <= d for a, d in zip(accepted, drafted, strict=True))
    assert sum(drafted) == record.verified_draft_tokens
    assert sum(drafted[record.asked_draft_tokens :]) == 0
    assert record.drafting_requests in (0, record.decodes)


def test_without_drafts_every_request_gets_one_token_a_step() -> None:
    """K = 0: tokens delivered are decodes plus the requests whose prefill ended."""
    run, spy = observed(engine_file(), [phase(clients=10)], k=0)
    first_tokens = sum(r.generated_tokens - r.decodes for r in spy.records)
    assert first_tokens == len(run.requests)
    assert all(r.generated_tokens - r.decodes >= 0 for r in spy.records)


def test_prompts_in_chunks_delay_the_first_token_only() -> None:
    """A prompt of ten budgets takes ten steps; decodes go on meanwhile, and take their share of the budget first."""
    spec = engine_file(maxNumBatchedTokens=100)
    run, spy = observed(spec, [phase(seconds=0.001, clients=1, promptTokens=1000, outputTokens=3)])
    assert [r.prefill_tokens for r in spy.records[:11]] == [100] * 10 + [0]
    assert run.requests[0].first_token == pytest.approx(spy.records[9].ended_seconds)


def test_preempted_requests_keep_their_tokens_and_are_prefilled_again() -> None:
    """Requests that outgrow the cache: some are preempted, all get all their tokens, prefill is paid twice."""
    spec = engine_file(kvCacheTokens=2000)
    run, spy = observed(spec, [phase(seconds=2, clients=12, promptTokens=50, outputTokens=400)])
    assert run.preemptions > 0
    assert sum(record.prefill_tokens for record in spy.records) > 50 * len(run.requests)
    assert sum(record.generated_tokens for record in spy.records) == delivered(run.requests)


def test_an_idle_engine_says_that_its_first_interval_is_unknown() -> None:
    """After a pause the interval is None; between busy steps it is the time that passed."""
    _, spy = observed(engine_file(), [phase(poissonPerSecond=0.5, seconds=20, outputTokens=5)])
    assert sum(record.interval_seconds is None for record in spy.records) > 1
    for before, record in zip(spy.records, spy.records[1:], strict=False):
        if record.interval_seconds is not None:
            assert record.interval_seconds == pytest.approx(record.ended_seconds - before.ended_seconds)
