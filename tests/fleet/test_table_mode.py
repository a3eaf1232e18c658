"""The operator alone makes K follow acceptance: rounds of 2 s, tables and probes pushed to a simulated engine."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.fleet.builders import LADDER, MODEL, NOW, pod, policy, profile, pushes, report, snapshot
from tests.fleet.world import ROUND_SECONDS, Engine, World
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.latency import LatencyModel, MeasuredCell, build_latency_model
from turbospec.control.objective import Objective
from turbospec.fleet.effects import TableRange
from turbospec.fleet.memory import EngineMemory
from turbospec.fleet.snapshot import EngineLoopMode
from turbospec.fleet.table_mode import choose_table, draft_tokens_at

FOLLOW_ROUNDS = int(30 / ROUND_SECONDS)


def world(**engine: object) -> tuple[World, Engine]:
    simulated = Engine("chat-0", **engine)  # type: ignore[arg-type]  # any field of the engine
    shown = snapshot(policies=(policy(loop=EngineLoopMode.TABLE),), profiles=(profile(),))
    return World(shown, {"chat-0": simulated}), simulated


def base_draft_tokens(engine: Engine) -> int:
    """K of the lasting table at the engine's batch."""
    assert engine.base is not None
    assert engine.base.table is not None
    return next(row.draft_tokens for row in engine.base.table if row.from_batch <= engine.batch <= row.to_batch)


@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draft_length_follows_acceptance_within_30_seconds_both_ways(batch: int, seed: int) -> None:
    """High acceptance gives a long draft, low acceptance none, high acceptance the long one again."""
    fleet, engine = world(batch=batch, seed=seed)
    fleet.rounds(FOLLOW_ROUNDS)
    high = base_draft_tokens(engine)
    assert high >= 3
    engine.acceptance = 0.05
    fleet.rounds(FOLLOW_ROUNDS)
    assert base_draft_tokens(engine) == 0
    fleet.rounds(3)
    engine.acceptance = 0.9
    fleet.rounds(FOLLOW_ROUNDS)
    assert base_draft_tokens(engine) >= 3


def test_engine_stuck_at_zero_is_probed_with_the_smallest_draft_for_a_moment() -> None:
    """Where nothing is drafted nothing is learnt: a short overlay asks again, at least every 20 s, never for long."""
    fleet, engine = world(acceptance=0.02)
    fleet.rounds(FOLLOW_ROUNDS)
    assert base_draft_tokens(engine) == 0
    start, before = fleet.now, len(engine.received)
    fleet.rounds(30)
    probes = [document for document in engine.received[before:] if document.ttl_seconds is not None]
    assert 3 <= len(probes) <= (fleet.now - start) / 10
    for probe in probes:
        assert probe.ttl_seconds is not None
        assert probe.ttl_seconds <= 3
        assert probe.table is not None
        assert probe.table[0].draft_tokens == min(k for k in LADDER if k > 0)
        assert len({document.document_id for document in probes}) == len(probes)


def test_nothing_is_probed_where_even_perfect_acceptance_would_not_pay() -> None:
    """Beyond the crossover a probe could only cost: a batch so large that drafting can never win is left alone."""
    fleet, engine = world(acceptance=0.02, batch=4)
    slow = policy(loop=EngineLoopMode.TABLE, draft_tokens=(0, 7))
    fleet.snapshot = snapshot(policies=(slow,), profiles=(profile(latency=_drafting_never_pays()),))
    fleet.rounds(FOLLOW_ROUNDS)
    before = len(engine.received)
    fleet.rounds(30)
    assert not [document for document in engine.received[before:] if document.ttl_seconds is not None]


def _drafting_never_pays() -> LatencyModel:
    return build_latency_model(
        [MeasuredCell(b, 512, k, 0, 0.01 * (1 + 1.5 * k), 9) for b in (1, 16, 256) for k in (0, 1, 7)]
    )


def test_drafter_that_finds_nothing_is_not_asked_every_round() -> None:
    """A probe without any draft brings no evidence; the next one still waits its time."""
    fleet, engine = world(acceptance=0.02)
    fleet.rounds(FOLLOW_ROUNDS)
    engine.finds_drafts = False
    start, before = fleet.now, len(engine.received)
    fleet.rounds(30)
    probes = [document for document in engine.received[before:] if document.ttl_seconds is not None]
    assert 3 <= len(probes) <= (fleet.now - start) / 10 + 1


def test_small_gain_does_not_change_a_table() -> None:
    """The K in force stays while another promises less than the margin more, and goes when it promises more."""
    memory = EngineMemory("engine-1", NOW, context_tokens=512.0, table=(TableRange(1, 65536, 3),))
    edge = 14
    known = [PositionEstimate(0.9, None, 99.0)] * 7
    kept = choose_table(MODEL, known, LADDER, report(), memory, objective=Objective())
    fresh = choose_table(MODEL, known, LADDER, report(), _without_table(memory), objective=Objective())
    assert kept is not None
    assert fresh is not None
    assert draft_tokens_at(fresh.table, edge) == 7
    assert draft_tokens_at(kept.table, edge) == 3
    assert draft_tokens_at(kept.table, 1) == 7


def _without_table(memory: EngineMemory) -> EngineMemory:
    return replace(memory, table=None)


@pytest.mark.parametrize("acceptance", [0.02, 0.9])
def test_idle_engine_is_neither_probed_nor_given_another_table(acceptance: float) -> None:
    """No traffic is no evidence: nothing changes, and acceptance is not taken for zero."""
    fleet, engine = world(acceptance=acceptance)
    fleet.rounds(FOLLOW_ROUNDS)
    table = engine.base
    engine.batch = 0
    effects = fleet.rounds(30)
    assert engine.base is not None
    assert table is not None
    assert engine.base.document_id == table.document_id
    assert not [push for push in pushes(effects) if push.ttl_seconds is not None]


def test_engine_without_evidence_keeps_its_start_up_table() -> None:
    """Unknown is not guessed: before the first drafts a waiting document is all there is."""
    fleet, engine = world(batch=0)
    fleet.rounds(5)
    assert engine.base is not None
    assert engine.base.table is None
    assert engine.base.latency is None
    assert fleet.reasons()["Ready"] == "AllEnginesControlled"


def test_restarted_operator_keeps_the_table_until_it_has_its_own_evidence() -> None:
    """An empty memory is not an empty fleet: the table in force stays as good as it was."""
    fleet, engine = world()
    fleet.rounds(FOLLOW_ROUNDS)
    k = base_draft_tokens(engine)
    # A peer with quite another text must not speak for it either.
    fleet.engines["chat-1"] = Engine("chat-1", batch=0, acceptance=0.02, own_samples=(300.0,) * 7)
    fleet.snapshot = replace(fleet.snapshot, pods=(*fleet.snapshot.pods, pod("chat-1")))
    fleet.restart()
    assert [push.engine.pod for push in pushes(fleet.round())] == ["chat-1"]
    fleet.rounds(FOLLOW_ROUNDS)
    assert base_draft_tokens(engine) == k


def test_restarted_operator_finds_the_way_back_from_zero() -> None:
    """It knows neither table nor acceptance, and an engine at K=0 reports nothing: it probes."""
    fleet, engine = world(acceptance=0.02)
    fleet.rounds(FOLLOW_ROUNDS)
    assert base_draft_tokens(engine) == 0
    fleet.restart()
    engine.acceptance = 0.9
    fleet.rounds(FOLLOW_ROUNDS)
    assert base_draft_tokens(engine) >= 3


def test_engine_that_starts_again_starts_without_evidence() -> None:
    """Another process may serve another text: the table of the one before it is not carried over."""
    fleet, _ = world()
    fleet.rounds(FOLLOW_ROUNDS)
    fleet.engines["chat-0"] = Engine("chat-0", engine_id="engine-reborn", batch=0)
    fleet.rounds(2)
    document = fleet.engines["chat-0"].base
    assert document is not None
    assert document.table is None


def test_handful_of_drafts_makes_no_first_table() -> None:
    """Three drafts say nothing, thirty do."""
    memory = EngineMemory("engine-1", NOW)
    known = [PositionEstimate(0.9, None, trials) for trials in (3.0, 30.0) for _ in range(7)]
    assert choose_table(MODEL, known[:7], LADDER, report(), memory, objective=Objective()) is None
    assert choose_table(MODEL, known[7:], LADDER, report(), memory, objective=Objective()) is not None


@pytest.mark.parametrize("batch", [4, 13, 15, 105])
def test_tables_are_steady_under_steady_acceptance(batch: int) -> None:
    """Hysteresis: the noise of a few seconds' drafts does not make K flap, not even at a batch on the edge of two."""
    fleet, engine = world(batch=batch, acceptance=0.9)
    fleet.rounds(20)
    seen = []
    for _ in range(60):
        fleet.round()
        seen.append(base_draft_tokens(engine))
    assert sum(earlier != later for earlier, later in pairwise(seen)) <= 1, seen


def test_every_pushed_table_covers_all_batches_with_allowed_draft_lengths() -> None:
    """What the wire demands: rows from batch 1 on, no gaps, no overlaps, no K outside the allowed set."""
    fleet, engine = world(seed=3)
    for acceptance in (0.9, 0.05, 0.6):
        engine.acceptance = acceptance
        fleet.rounds(FOLLOW_ROUNDS)
    tables = [document for document in engine.received if document.table is not None]
    assert tables
    for document in tables:
        _check(document.table or (), document.allowed_draft_tokens)


def _check(table: tuple[TableRange, ...], allowed: tuple[int, ...]) -> None:
    expected = 1
    for row in table:
        assert row.from_batch == expected
        assert row.to_batch >= row.from_batch
        assert row.draft_tokens in allowed
        expected = row.to_batch + 1
    assert expected > 256


def test_new_engine_gets_a_table_from_what_its_peers_know() -> None:
    """The pool of grown peers stands in for evidence that a new engine cannot have yet."""
    grown = Engine("chat-0", own_samples=(300.0,) * 7)
    fresh = Engine("chat-1", batch=0)
    shown = snapshot(
        policies=(policy(loop=EngineLoopMode.TABLE),),
        profiles=(profile(),),
        pods=(pod("chat-0"), pod("chat-1", ready=False)),
    )
    fleet = World(shown, {"chat-0": grown, "chat-1": fresh})
    fleet.round()
    assert fresh.base is not None
    assert fresh.base.table is not None
    assert fleet.now == NOW + ROUND_SECONDS


def test_operator_that_has_counted_nothing_yet_goes_by_the_engines_own_estimate() -> None:
    """After a restart of the operator, or a change from Local to Table, an idle engine has its table in one round."""
    fleet, engine = world(batch=0, own_samples=(300.0,) * 7)
    fleet.round()
    assert engine.base is not None
    assert engine.base.table is not None


def test_idleness_does_not_hide_what_the_engine_knows_from_the_operator() -> None:
    """What the operator counted fades while nothing is served; turned to Table then, the engine has its table."""
    fleet, engine = world(own_samples=(300.0,) * 7)
    fleet.snapshot = replace(fleet.snapshot, policies=(policy(loop=EngineLoopMode.LOCAL),))
    fleet.rounds(5)
    engine.batch = 0
    fleet.rounds(FOLLOW_ROUNDS)
    fleet.snapshot = replace(fleet.snapshot, policies=(policy(loop=EngineLoopMode.TABLE),))
    fleet.round()
    assert engine.base is not None
    assert engine.base.table is not None
