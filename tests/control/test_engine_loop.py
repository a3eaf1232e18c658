"""The engine loop's contract: what it promises to the engine whatever it is fed."""

import json
import math
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control.simulated_engine import profile, roofline
from turbospec.control.acceptance import Prior
from turbospec.control.draft_length import Bounding, Reason
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.objective import Objective
from turbospec.control.step import StepComposition, StepRecord

LIMITS = LoopLimits(max_num_seqs=32, max_draft_tokens=7, engine_allowed=(0, 1, 3, 7))
STARTUP = (7,) * 9 + (3,) * 8 + (0,)
MODEL = profile(roofline, (0, 1, 3, 7))
LOCAL = LoopSettings("local", (0, 1, 3, 7), None, MODEL)


def loop(settings: LoopSettings | None = LOCAL) -> EngineLoop:
    made = EngineLoop(LIMITS, STARTUP)
    if settings is not None:
        made.configure(settings)
    return made


def composition(batch: int) -> StepComposition:
    return StepComposition(decodes=batch, prefill_tokens=0, kv_tokens=256 * batch, waiting=0)


def record(seq: int = 1, batch: int = 4, k: int = 3, accepted: int = 3, seconds: float | None = 0.025) -> StepRecord:
    """A step in which all ``batch`` requests drafted K tokens, and had ``accepted`` of them accepted."""
    kept = min(accepted, k)
    return StepRecord(
        seq=seq,
        ended_seconds=seq * 0.025,
        interval_seconds=seconds,
        interval_draft_tokens=k,
        decided_draft_tokens=k,
        decodes=batch,
        prefill_tokens=0,
        kv_tokens=256 * batch,
        waiting=0,
        generated_tokens=batch * (1 + kept),
        verified_draft_tokens=batch * k,
        asked_draft_tokens=k,
        drafting_requests=batch if k else 0,
        drafted_per_position=tuple(batch if j < k else 0 for j in range(7)),
        accepted_per_position=tuple(batch if j < kept else 0 for j in range(7)),
    )


def feed(engine_loop: EngineLoop, steps: int, **changes: int) -> None:
    for seq in range(steps):
        engine_loop.observe(record(seq, **changes))


def reason(engine_loop: EngineLoop, batch: int = 4) -> Reason:
    engine_loop.draft_tokens(composition(batch))
    decision = engine_loop.decision()
    assert decision is not None
    return decision.reason


def test_before_it_is_configured_the_start_up_table_decides() -> None:
    """Batches beyond its end get its last entry."""
    fresh = loop(None)
    assert fresh.decision() is None
    assert [fresh.draft_tokens(composition(b)) for b in (1, 8, 9, 16, 17, 32, 5000)] == [7, 7, 3, 3, 0, 0, 0]
    assert reason(fresh) is Reason.STARTUP_TABLE


def test_without_a_latency_model_the_start_up_table_stays_within_the_allowed() -> None:
    """And says so."""
    made = loop(LoopSettings("local", (0, 3)))
    assert [made.draft_tokens(composition(b)) for b in (1, 9, 17)] == [3, 3, 0]
    assert reason(made) is Reason.NO_LATENCY_MODEL
    for seq in range(200):
        made.observe(record(seq, seconds=None))
    assert reason(made) is Reason.NO_LATENCY_MODEL


def test_without_a_latency_model_step_times_are_learnt_while_serving() -> None:
    """From the first timed steps on K is chosen, and the reason says on what grounds."""
    made = loop(LoopSettings("local", (0, 3)))
    feed(made, 300)
    assert reason(made) in {Reason.NO_PROFILE, Reason.HYSTERESIS, Reason.PROBE}
    assert made.bias() is None


def test_without_acceptance_the_start_up_table_decides_until_there_is_some() -> None:
    """Unknown acceptance is not guessed."""
    made = loop()
    assert made.draft_tokens(composition(4)) == 7
    assert reason(made) is Reason.NO_ACCEPTANCE
    feed(made, 40)
    assert reason(made) is Reason.HIGHEST_GOODPUT


def test_a_prior_decides_from_the_first_step() -> None:
    """A new engine starts from what others have learnt."""
    high = loop(replace(LOCAL, prior=(Prior(0.95, 1000),) * 7))
    low = loop(replace(LOCAL, prior=(Prior(0.02, 1000),) * 7))
    assert high.draft_tokens(composition(1)) == 7
    assert low.draft_tokens(composition(1)) == 0
    assert reason(low, 1) is Reason.HIGHEST_GOODPUT


def test_table_mode_runs_exactly_the_table() -> None:
    """Whatever is observed."""
    table = (0, *(1,) * 10, *(3,) * 22)
    made = loop(LoopSettings("table", (1, 3), table))
    feed(made, 200, accepted=7, k=7)
    assert made.table()[1:] == table[1:]
    assert [made.draft_tokens(composition(b)) for b in (1, 10, 11, 32, 999)] == [1, 1, 3, 3, 3]
    assert reason(made) is Reason.TABLE


def test_a_single_allowed_draft_length_is_pinned() -> None:
    """No table, no probing."""
    made = loop(LoopSettings("local", (3,), None, MODEL))
    for seq in range(300):
        assert made.draft_tokens(composition(1 + seq % 32)) == 3
        made.observe(record(seq, accepted=0))
    assert reason(made) is Reason.ONLY_ALLOWED
    assert made.probe_report().bursts == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            LoopSettings("local", (0, 2), None, MODEL),
            r"\[2\] cannot be used by this engine: allow only some of \[0, 1, 3, 7\]",
        ),
        (LoopSettings("local", (), None, MODEL), "no allowed draftTokens"),
        (LoopSettings("table", (0, 1)), "needs a table"),
        (LoopSettings("table", (0, 1), (0,)), "needs a table"),
        (LoopSettings("table", (0, 1), (0, 1, 3)), r"table holds draftTokens \[3\]"),
        (replace(LOCAL, prior=(Prior(2.0, 1),)), "prior of position 0"),
    ],
)
def test_wrong_settings_are_refused_and_the_old_ones_stay(settings: LoopSettings, message: str) -> None:
    """The last good state stays in force, whole."""
    made = loop(LoopSettings("table", (1,), (0, 1)))
    with pytest.raises(ValueError, match=message):
        made.configure(settings)
    assert made.draft_tokens(composition(4)) == 1
    assert reason(made) is Reason.TABLE


def test_the_same_settings_again_change_nothing() -> None:
    """Heartbeats do not rebuild."""
    made = loop()
    feed(made, 50)
    rebuilds = made.rebuilds
    made.configure(replace(LOCAL))
    assert made.rebuilds == rebuilds


def test_new_settings_keep_what_was_learnt_of_the_text() -> None:
    """Only the latency model and the allowed K are new."""
    made = loop()
    feed(made, 100)
    made.configure(replace(LOCAL, allowed=(0, 1)))
    assert made.estimates()[0].samples > 100
    assert made.draft_tokens(composition(4)) == 1
    assert reason(made) is Reason.HIGHEST_GOODPUT


@pytest.mark.parametrize("base", [LOCAL, replace(LOCAL, latency=None)])
def test_a_new_prior_or_objective_keeps_what_was_learnt_of_step_times(base: LoopSettings) -> None:
    """Documents come every few seconds."""
    made = loop(base)
    for seq in range(300):
        made.draft_tokens(composition(4))
        made.observe(record(seq, seconds=0.04))
    before = made.save()["bias"]
    assert before is not None
    made.configure(replace(base, prior=(Prior(0.5, 10),)))
    made.configure(replace(base, objective=Objective(time_per_output_token_seconds=1.0)))
    assert made.save()["bias"] == before


def test_a_decision_explains_itself() -> None:
    """Predicted goodput, tokens and step time of every allowed K; the chosen one is the best of them."""
    made = loop()
    feed(made, 100)
    k = made.draft_tokens(composition(4))
    decision = made.decision()
    assert decision is not None
    assert decision.draft_tokens == k
    assert [p.draft_tokens for p in decision.predictions] == [0, 1, 3, 7]
    rates = {p.draft_tokens: p.tokens_per_second for p in decision.predictions}
    assert all(rate is not None for rate in rates.values())
    assert rates[k] == max(rate for rate in rates.values() if rate is not None)
    assert decision.predictions[0].expected_tokens == 1.0


def test_a_table_is_rebuilt_only_for_a_reason() -> None:
    """Steady steps leave it alone; a moved context does not."""
    made = loop()
    # As the model has it, so that step times give no reason either.
    expected = MODEL.step_seconds(decodes=4, draft_tokens=3, kv_tokens=1024)
    for seq in range(2000):
        made.draft_tokens(composition(4))
        made.observe(record(seq, seconds=expected))
    before = made.rebuilds
    for seq in range(2000):
        made.draft_tokens(composition(4))
        made.observe(record(seq, seconds=expected))
    assert made.rebuilds - before <= 1
    before = made.rebuilds
    for seq in range(300):
        made.draft_tokens(composition(4))
        made.observe(replace(record(seq, seconds=expected), kv_tokens=4 * 4096))
    assert made.rebuilds > before


def test_bias_follows_the_engine_and_is_reported() -> None:
    """Steps that take 1.5 times the prediction."""
    made = loop()
    assert loop(None).bias() is None
    expected = MODEL.step_seconds(decodes=4, draft_tokens=3, kv_tokens=1024)
    for seq in range(300):
        made.draft_tokens(composition(4))
        made.observe(record(seq, seconds=1.5 * expected))
    bias = made.bias()
    assert bias is not None
    assert 1.2 < bias < 1.6


@pytest.mark.parametrize(
    "field", ["interval_seconds", "decodes", "kv_tokens", "prefill_tokens", "verified_draft_tokens"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, -math.inf])
def test_impossible_records_are_ignored(field: str, value: float) -> None:
    """NaN, infinite and negative values change neither table nor estimates."""
    made = loop()
    feed(made, 60)
    table, estimates = made.table(), made.estimates()
    for seq in range(60):
        made.observe(replace(record(seq, accepted=0), **{field: value}))  # type: ignore[arg-type]
    assert made.estimates() == estimates
    assert made.ignored == 60
    assert made.table() == table


@pytest.mark.parametrize(
    "limits",
    [
        {"max_num_seqs": 0, "max_draft_tokens": 3, "engine_allowed": (0, 1)},
        {"max_num_seqs": 8, "max_draft_tokens": 3, "engine_allowed": ()},
        {"max_num_seqs": 8, "max_draft_tokens": 3, "engine_allowed": (0, 5)},
    ],
)
def test_impossible_limits_are_refused(limits: dict[str, object]) -> None:
    """At construction, not in the step path."""
    with pytest.raises(ValueError, match=r"must be|within"):
        LoopLimits(**limits)  # type: ignore[arg-type]


counts = st.integers(0, 64)
intervals = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(-3, 100),
            st.integers(0, 7),
            intervals,
            st.lists(counts, min_size=7, max_size=7),
            st.lists(counts, min_size=7, max_size=7),
            st.integers(-5, 100_000),
        ),
        max_size=120,
    ),
    st.sampled_from([(0, 1, 3, 7), (0, 3), (1, 7), (0, 1)]),
)
def test_whatever_is_observed_k_is_allowed_and_no_number_is_nan(
    steps: list[tuple[int, int, float | None, list[int], list[int], int]], allowed: tuple[int, ...]
) -> None:
    """Arbitrary records, consistent or not, through the hot path: no exception, no K outside the set, no NaN."""
    made = loop(replace(LOCAL, allowed=allowed))
    for seq, (batch, asked, interval, drafted, accepted, kv) in enumerate(steps):
        assert made.draft_tokens(StepComposition(batch, 0, kv, 0)) in allowed
        base = record(seq, k=asked, seconds=interval)
        counted = {
            "drafted_per_position": tuple(sorted(drafted, reverse=True)),
            "accepted_per_position": tuple(accepted),
        }
        if seq % 2:
            counted["accepted_per_position"] = tuple(
                min(d, a) for d, a in zip(sorted(drafted), sorted(accepted), strict=True)
            )
            counted["accepted_per_position"] = tuple(sorted(counted["accepted_per_position"], reverse=True))
        made.observe(replace(base, decodes=batch, kv_tokens=kv, **counted))  # type: ignore[arg-type]
    assert set(made.table()) <= set(allowed)
    decision = made.decision()
    if decision is not None:
        for prediction in decision.predictions:
            assert math.isfinite(prediction.step_seconds)
            assert prediction.tokens_per_second is None or math.isfinite(prediction.tokens_per_second)
    for estimate in made.estimates():
        assert estimate.acceptance is None or 0 <= estimate.acceptance <= 1
    bias = made.bias()
    assert bias is None or 0.5 - 1e-9 <= bias <= 2.0 + 1e-9


def test_save_and_restore_lose_nothing() -> None:
    """Through JSON into a fresh loop: the same estimates, bias and table, and the same ones after more steps."""
    made = loop()
    for seq in range(500):
        made.draft_tokens(composition(4))
        made.observe(record(seq, k=(0, 1, 3, 7)[seq // 60 % 4], seconds=0.031))
    saved = made.save()
    fresh = loop()
    fresh.restore(json.loads(json.dumps(saved)))
    assert fresh.save() == saved
    assert fresh.estimates() == made.estimates()
    assert fresh.bias() == made.bias()
    for each in (made, fresh):
        feed(each, 500, accepted=1)
    assert fresh.estimates() == made.estimates()


def test_what_another_engine_has_saved_is_refused() -> None:
    """The old state stays."""
    made = loop()
    feed(made, 100)
    before = made.estimates()
    saved = made.save()
    saved["acceptance"]["memory"]["hits"][0] = 1e9
    with pytest.raises(ValueError, match="more hits than trials"):
        made.restore(saved)
    small = EngineLoop(LoopLimits(32, 3, (0, 1, 3)), STARTUP)
    with pytest.raises(ValueError, match="7 draft positions"):
        small.restore(made.save())
    assert made.estimates() == before


def test_drafts_leave_room_for_prefill() -> None:
    """With a token budget of 100, 32 requests with 7 drafts each would leave none of a step to waiting prompts."""
    limits = replace(LIMITS, max_num_batched_tokens=100)
    made = EngineLoop(limits, STARTUP)
    made.configure(replace(LOCAL, prior=(Prior(0.99, 1000),) * 7))
    cheap = EngineLoop(LIMITS, STARTUP)
    cheap.configure(replace(LOCAL, prior=(Prior(0.99, 1000),) * 7))
    mixed = replace(composition(12), prefill_tokens=64)
    assert cheap.draft_tokens(mixed) == 7
    assert made.draft_tokens(composition(12)) == 7
    assert made.draft_tokens(mixed) == 3
    decision = made.decision()
    assert decision is not None
    assert (decision.draft_tokens, decision.bounding) == (3, Bounding.TOKEN_BUDGET)


def test_table_mode_keeps_no_steps() -> None:
    """Memory is bounded whatever the mode."""
    made = loop(LoopSettings("table", (1, 3), (0, *(1,) * 32)))
    feed(made, 1000)
    tracemalloc.start()
    feed(made, 5000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(json.dumps(made.save())) < 50_000
    assert kept < 200_000
