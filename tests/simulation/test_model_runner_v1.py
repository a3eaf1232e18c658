"""Model runner V1: a step's time holds the drafting for the step after it."""

import pytest

from tests.simulation.builders import LINEAR, engine_file, phase
from turbospec.control.step import StepComposition
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile
from turbospec.simulation.step_time import StepTime, Work
from turbospec.simulation.text import TextBank
from turbospec.simulation.workload import Request

TABLE = {"table": {"batch": [1, 4], "draftTokens": [0, 4], "milliseconds": [[10, 30], [14, 42]]}}
PASS = 0.01


def engine(spec: EngineFile, *, v1: bool) -> SimulatedEngine:
    """One request in it whose drafts are all rejected."""
    bank = TextBank(1, spec.max_draft_tokens, 1000)
    text = bank.text(0, phase(acceptance=0.0), 0)
    made = SimulatedEngine(spec, bank, 1, drafts_after_completion=not v1)
    made.submit(Request(0, 0.0, 10, 500, text, bank.place(text, 0)))
    return made


def test_only_drafting_moves_to_the_step_before() -> None:
    """Over the same K's both runners take the same time in all; step by step V1 pays for drafts one step earlier."""
    spec = engine_file(stepTime={"linear": {**LINEAR, "secondsPerKvToken": 0, "draftSecondsPerPass": PASS}})
    chosen = [0, 3, 3, 0, 7, 1, 0, 0]
    took: dict[bool, list[float]] = {}
    for v1 in (False, True):
        made, took[v1] = engine(spec, v1=v1), []
        for k in chosen:

            def decide(_: StepComposition, k: int = k) -> int:
                return k

            record = made.step(decide)
            assert record is not None
            took[v1].append(made.last_seconds)
            if record.seq > 1:
                mixed = v1 and record.decided_draft_tokens != record.asked_draft_tokens
                assert record.interval_seconds == (None if mixed else made.last_seconds)
    assert sum(took[True]) == pytest.approx(sum(took[False]))
    drafting = PASS + LINEAR["draftSecondsPerToken"]
    asked = [0, *chosen[:-1]]
    for now, before, on_v1, on_v2 in zip(chosen, asked, took[True], took[False], strict=True):
        assert on_v1 - on_v2 == pytest.approx((now - before) * drafting)


def test_of_a_table_the_drafting_is_what_k_adds_at_batch_one() -> None:
    """Verifying 4 drafts of 4 requests, proposing none: their drafting is taken out, nothing else."""
    step_time = StepTime(engine_file(stepTime=TABLE, maxDraftTokens=4, allowedDraftTokens=[0, 4]))
    verifying, none = Work(4, 4, 16, 4, 100, 0), Work(4, 0, 0, 0, 100, 0)
    assert step_time.seconds(verifying) == pytest.approx(0.042)
    assert step_time.seconds(verifying, none) == pytest.approx(0.042 - 0.020)
    assert step_time.seconds(none, verifying) == pytest.approx(0.014 + 0.020)
    assert step_time.seconds(verifying, verifying) == pytest.approx(0.042)


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    """Waiting, in prefill or decoding; a second time nothing happens."""
    spec = engine_file(maxNumBatchedTokens=64, maxNumSeqs=2, kvCacheTokens=10_000)
    bank = TextBank(1, spec.max_draft_tokens, 1000)
    text = bank.text(0, phase(), 0)
    requests = [Request(number, 0.0, prompt, 500, text, number) for number, prompt in enumerate((20, 200, 20))]
    made = SimulatedEngine(spec, bank, 1)
    for request in requests:
        made.submit(request)
    made.step(lambda _: 3)
    assert (made.batch.requests, made.prefilling, list(made.waiting)) == ([requests[0]], [requests[1]], [requests[2]])
    for request in requests:
        made.cancel(request)
        made.cancel(request)
    assert (made.kv_tokens, made.busy) == (0, False)
