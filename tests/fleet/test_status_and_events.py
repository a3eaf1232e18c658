"""Statuses are written when something changed, events when a reason changed."""

from dataclasses import replace

from tests.fleet.builders import NOW, conditions, pod, policy, profile, pushes, report, snapshot, status
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import Effect, EmitEvent, SetPolicyStatus, TableRange
from turbospec.fleet.memory import forget
from turbospec.fleet.snapshot import EngineIdentity, FleetSnapshot

IDENTITY = EngineIdentity("NVIDIA H100 x1", "target", "drafter", "eagle3", (), "0.32.0")


def events(effects: tuple[Effect, ...]) -> list[EmitEvent]:
    return [effect for effect in effects if isinstance(effect, EmitEvent)]


def statuses(effects: tuple[Effect, ...]) -> list[SetPolicyStatus]:
    return [effect for effect in effects if isinstance(effect, SetPolicyStatus)]


def settled() -> tuple[FleetSnapshot, FleetMemory]:
    """A fleet with nothing left to do, two rounds in."""
    start = snapshot(profiles=(profile(),))
    effects, memory = decide(start, FleetMemory())
    applied = pod(report=report(engine_id="engine-chat-0", applied_id=pushes(effects)[0].document_id))
    effects, memory = decide(replace(start, pods=(applied,), now_seconds=NOW + 2), memory)
    reported = tuple((entry.type, entry.reason) for entry in status(effects).conditions)
    return replace(start, pods=(applied,), policies=(policy(reported=reported),), now_seconds=NOW + 2), memory


def busy(observed: FleetSnapshot, batch: int, seconds: float) -> FleetSnapshot:
    (view,) = observed.pods
    assert view.report is not None
    moved = replace(view, report=replace(view.report, running=batch, decodes=batch, draft_tokens=1))
    return replace(observed, pods=(moved,), now_seconds=observed.now_seconds + seconds)


def test_reasons_that_do_not_change_make_no_event() -> None:
    """Level-based, yet events only on edges."""
    observed, memory = settled()
    for round_number in range(1, 6):
        effects, memory = decide(replace(observed, now_seconds=observed.now_seconds + 2 * round_number), memory)
        assert not events(effects)


def test_restart_reads_what_was_said_from_the_status() -> None:
    """With an empty memory the status in the cluster is the memory."""
    observed, _ = settled()
    effects, _ = decide(observed, FleetMemory())
    assert not events(effects)
    silent = replace(observed, policies=(policy(),))
    effects, _ = decide(silent, FleetMemory())
    assert {event.reason for event in events(effects)} >= {"AllEnginesControlled", "ProfileReady"}


def test_changed_reason_makes_one_event_with_the_remedy() -> None:
    """Controlled and Ready change to the same reason: one event, a warning."""
    observed, memory = settled()
    (view,) = observed.pods
    lost = replace(observed, pods=(replace(view, report=None, unreachable="refused"),), now_seconds=NOW + 30)
    effects, _ = decide(lost, memory)
    (event,) = [event for event in events(effects) if event.reason == "EngineUnreachable"]
    assert event.type == "Warning"
    assert "kubectl logs" in event.message
    assert len({event.reason for event in events(effects)}) == len(events(effects))


def test_benign_reasons_make_normal_events() -> None:
    """Profiling and control are good news."""
    effects, _ = decide(snapshot(), FleetMemory())
    assert {event.reason: event.type for event in events(effects)}["ProfilingInProgress"] == "Normal"


def test_moving_numbers_are_written_at_most_every_ten_seconds() -> None:
    """Batch and K change every round; a write per round would load the API server for nothing."""
    observed, memory = settled()
    written = 0
    for round_number in range(1, 31):
        effects, memory = decide(busy(observed, 1 + round_number % 2, 2.0 * round_number), memory)
        written += len(statuses(effects))
    assert 4 <= written <= 6


def test_changed_condition_is_written_at_once() -> None:
    """Bad news does not wait for the next refresh."""
    observed, memory = settled()
    paused = replace(observed, policies=(replace(observed.policies[0], generation=2, invalid="no"),))
    effects, _ = decide(paused, memory)
    assert conditions(effects)["Ready"].reason == "InvalidSpec"
    assert status(effects).observed_generation == 2


def test_write_that_got_lost_is_repeated() -> None:
    """Told by the adapter at once; without being told, because the resource still says something else."""
    observed, memory = settled()
    effects, after = decide(busy(observed, 2, 12), memory)
    (lost,) = statuses(effects)
    effects, _ = decide(busy(observed, 2, 14), after)
    assert not statuses(effects)
    effects, _ = decide(busy(observed, 2, 14), forget(after, [lost]))
    assert statuses(effects) == [lost]
    stale = replace(observed, policies=(policy(reported=(("Ready", "Paused"),)),))
    effects, _ = decide(busy(stale, 2, 30), after)
    assert statuses(effects) == [lost]


def test_a_row_says_what_the_engine_runs_on_delivers_and_would_decide() -> None:
    """K by batch in as few ranges as there can be; what was not heard of is None."""
    table = tuple(TableRange(batch, batch, k) for batch, k in ((1, 3), (2, 3), (3, 1), (4, 0), (5, 0)))
    heard = report(engine_id="engine-chat-0", identity=IDENTITY, tokens_per_second=99.6, table=table)
    effects, _ = decide(snapshot(pods=(pod(report=heard),), profiles=(profile(),)), FleetMemory())
    (row,) = status(effects).engines
    assert (row.hardware, row.tokens_per_second) == (IDENTITY.hardware, 100)
    assert row.schedule == (TableRange(1, 2, 3), TableRange(3, 3, 1), TableRange(4, 5, 0))
    effects, _ = decide(snapshot(pods=(pod(report=None, unreachable="refused"),)), FleetMemory())
    (row,) = status(effects).engines
    assert (row.hardware, row.tokens_per_second, row.schedule) == (None, None, ())


def test_a_rate_or_a_table_that_moves_is_no_change_by_itself() -> None:
    """They move all the time: a status is brought up to date every ten seconds."""
    observed, memory = settled()
    (view,) = observed.pods
    assert view.report is not None
    for seconds, written in ((2, 0), (12, 1)):
        moved = replace(view.report, tokens_per_second=50.0 + seconds, table=(TableRange(1, 9, 7),))
        later = replace(observed, pods=(replace(view, report=moved),), now_seconds=observed.now_seconds + seconds)
        effects, memory = decide(later, memory)
        assert len(statuses(effects)) == written
