"""Ceilings of a policy: in every document, in the operator's own tables, and in a condition where no K meets them."""

from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from tests.fleet.builders import LADDER, MODEL, NOW, conditions, pod, policy, profile, pushes, report, snapshot
from tests.fleet.world import Engine, World
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.objective import Objective
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import EmitEvent
from turbospec.fleet.memory import EngineMemory, PositionEvidence
from turbospec.fleet.objective import SETTLE_SECONDS
from turbospec.fleet.snapshot import EngineLoopMode, FleetSnapshot, Mode
from turbospec.fleet.table_mode import choose_probe, choose_table, draft_tokens_at

CEILING = Objective(time_per_output_token_seconds=0.05)
IMPOSSIBLE = Objective(time_per_output_token_seconds=1e-4)
KNOWN = [PositionEstimate(0.9, None, 99.0)] * 7
ALL_OF_SEVEN = 7


def fleet(pods: int = 1, **policy_changes: Any) -> FleetSnapshot:
    return snapshot(
        policies=(policy(**policy_changes),),
        profiles=(profile(),),
        pods=tuple(pod(f"chat-{n}", report=report(engine_id=f"engine-{n}")) for n in range(pods)),
    )


def saying(observed: FleetSnapshot, *unattainable: bool | None, seconds: float = 0.0) -> FleetSnapshot:
    """Every engine runs the document that it is to run, and says this of its objective."""
    wanted = {push.engine.pod: push.document_id for push in pushes(decide(observed, FleetMemory())[0])}
    pods = []
    for view, said in zip(observed.pods, unattainable, strict=True):
        assert view.report is not None
        pods.append(replace(view, report=replace(view.report, applied_id=wanted[view.name], unattainable=said)))
    return replace(observed, pods=tuple(pods), now_seconds=NOW + seconds)


@pytest.mark.parametrize("changes", [{}, {"loop": EngineLoopMode.TABLE}, {"draft_tokens": (3,)}])
def test_an_objective_is_in_every_document_and_its_change_makes_another(changes: dict[str, Any]) -> None:
    """With a profile and without; the ids of documents without an objective stay as they were."""
    for profiles in ((), (profile(),)):
        found = []
        for objective in (Objective(), CEILING, replace(CEILING, time_per_output_token_percentile=95)):
            shown = replace(fleet(objective=objective, **changes), profiles=profiles)
            (document,) = pushes(decide(shown, FleetMemory())[0])
            assert document.objective == objective
            found.append(document.document_id)
        assert len(set(found)) == 3


def test_a_changed_objective_is_pushed_at_once() -> None:
    """To an engine that runs the policy's document already."""
    settled = saying(fleet(), None)
    _, memory = decide(settled, FleetMemory())
    edited = replace(settled, policies=(policy(objective=CEILING, generation=2),), now_seconds=NOW + 2)
    (document,) = pushes(decide(edited, memory)[0])
    assert document.objective == CEILING


def table_under(objective: Objective, **memory: Any) -> tuple[list[int], frozenset[int]]:
    """K by batch from 1 on, and where nothing meets the objective."""
    known = EngineMemory("engine-1", NOW, context_tokens=512.0, **memory)
    choice = choose_table(MODEL, KNOWN, LADDER, report(), known, objective=objective)
    assert choice is not None
    return [draft_tokens_at(choice.table, batch) or 0 for batch in range(1, 257)], choice.unattainable


def seconds(batch: int, k: int) -> float:
    return MODEL.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=512.0 * batch)


def test_the_operators_table_keeps_to_time_to_first_token() -> None:
    """Half a step under way, at worst all of it, and the own one: no K whose step is too long is in the table."""
    free, _ = table_under(Objective())
    limit = 1.9 * (seconds(4, 1) + seconds(4, 3)) / 2
    bound, missed = table_under(Objective(time_to_first_token_seconds=limit))
    assert free[3] == ALL_OF_SEVEN
    assert bound[3] == 1
    for batch, k in enumerate(bound, 1):
        met = [each for each in LADDER if 1.9 * seconds(batch, each) <= limit]
        assert (batch in missed) == (not met)
        assert k in (met or [free[batch - 1]])


def test_waiting_requests_count_in_the_operators_table() -> None:
    """Each that waits takes its step before the next one's first token."""
    objective = Objective(time_to_first_token_seconds=5.9 * seconds(4, 1) + 1e-6)
    alone, _ = table_under(objective)
    crowded, _ = table_under(objective, waiting=4.0)
    assert alone[3] == ALL_OF_SEVEN
    assert crowded[3] == 1


def test_where_nothing_meets_the_ceiling_the_table_delivers_most() -> None:
    """As if there were none; it is said all the same."""
    table, missed = table_under(IMPOSSIBLE)
    assert missed == frozenset(range(1, 257))
    assert table == table_under(Objective())[0]


def test_noise_at_a_ceiling_does_not_make_a_new_table_each_round() -> None:
    """A table is only replaced where K changes at the batches in use or next to them."""
    limit = 1.9 * seconds(40, 3)
    first = choose_table(
        MODEL, KNOWN, LADDER, report(), EngineMemory("e", NOW, context_tokens=512.0),
        objective=Objective(time_to_first_token_seconds=limit),
    )  # fmt: skip
    assert first is not None
    memory = EngineMemory("e", NOW, context_tokens=512.0, table=first.table)
    for batch, same in ((4, True), (40, False)):
        moved = choose_table(
            MODEL, KNOWN, LADDER, report(decodes=batch), memory,
            objective=Objective(time_to_first_token_seconds=0.97 * limit),
        )  # fmt: skip
        assert moved is not None
        assert (moved.table == first.table) is same


@pytest.mark.parametrize(("limit", "probed"), [(1.0, True), (1.9 * 0.0075, False)])
def test_a_probe_does_not_break_the_objective(limit: float, probed: bool) -> None:
    """However well its drafts were accepted: a longer K whose step is too long is not even tried."""
    fresh = PositionEvidence(1.0, 50.0, NOW)
    memory = EngineMemory("e", NOW, context_tokens=512.0, evidence=(fresh,) * 7)
    found = choose_probe(
        MODEL, [PositionEstimate(0.02, None, 50.0)] * 7, LADDER, report=report(draft_tokens=0),
        memory=replace(memory, evidence=()), now_seconds=NOW, objective=Objective(time_to_first_token_seconds=limit),
    )  # fmt: skip
    assert (found is not None) is probed


def test_a_table_under_a_ceiling_is_settled_in_the_cluster() -> None:
    """Rounds over a simulated engine: the table keeps to the ceiling, is not pushed anew, and the condition says so."""
    limit = 1.9 * (seconds(4, 1) + seconds(4, 3)) / 2
    objective = Objective(time_to_first_token_seconds=limit)
    shown = replace(fleet(loop=EngineLoopMode.TABLE, objective=objective), pods=(pod("chat-0"),))
    engine = Engine("chat-0")
    world = World(shown, {"chat-0": engine})
    world.rounds(10)
    assert engine.draft_tokens(world.now) <= 1
    before = len({document.document_id for document in engine.received})
    world.rounds(20)
    assert len({document.document_id for document in engine.received}) - before <= 1
    assert world.reasons()["ObjectiveAttainable"] == "Attainable"
    world.snapshot = replace(
        world.snapshot, policies=(policy(loop=EngineLoopMode.TABLE, objective=IMPOSSIBLE, generation=2),)
    )
    world.rounds(3)
    assert world.reasons()["ObjectiveAttainable"] == "Unattainable"


CASES: dict[str, tuple[FleetSnapshot, str, str, list[str]]] = {
    "no K meets it": (
        saying(fleet(2, objective=CEILING), True, False),
        "False",
        "Unattainable",
        ["1/2 engines", "50 ms per output token (p90)", "chat-0", "spec.objective", "--max-num-seqs"],
    ),
    "met": (saying(fleet(2, objective=CEILING), False, False), "True", "Attainable", ["2/2"]),
    "met as far as known": (saying(fleet(2, objective=CEILING), None, False), "True", "Attainable", ["1/2"]),
    "idle": (saying(fleet(objective=CEILING), None), "Unknown", "NotJudged", ["under load"]),
    "pinned": (saying(fleet(objective=CEILING, draft_tokens=(3,)), None), "Unknown", "NotJudged", ["pinned"]),
    "on its way": (fleet(objective=CEILING), "Unknown", "Pending", ["no engine"]),
    "advising": (fleet(objective=CEILING, mode=Mode.ADVISE), "Unknown", "Advising", ["no engine"]),
    "no pods": (fleet(0, objective=CEILING), "Unknown", "NoPodsMatched", ["no engine"]),
    "both ceilings": (
        saying(fleet(objective=replace(CEILING, time_to_first_token_seconds=2.0)), True),
        "False",
        "Unattainable",
        ["50 ms per output token (p90) and 2000 ms to the first token (p90)"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_condition_says_what_engines_find(case: str) -> None:
    """How many, which, and what to do; what nobody knows is Unknown."""
    observed, want_status, want_reason, want_words = CASES[case]
    condition = conditions(decide(observed, FleetMemory())[0])["ObjectiveAttainable"]
    assert (condition.status, condition.reason) == (want_status, want_reason)
    for word in want_words:
        assert word in condition.message


def test_without_an_objective_there_is_no_such_condition() -> None:
    """Whatever engines say."""
    effects, _ = decide(saying(fleet(), True), FleetMemory())
    assert "ObjectiveAttainable" not in conditions(effects)


def test_a_word_of_the_objective_before_counts_for_nothing() -> None:
    """An engine that does not run the document yet judges by other ceilings, or by none."""
    settled = saying(fleet(objective=CEILING), True)
    _, memory = decide(settled, FleetMemory())
    raised = replace(settled, policies=(policy(objective=replace(CEILING, time_per_output_token_seconds=1.0)),))
    effects, _ = decide(replace(raised, now_seconds=NOW + 2), memory)
    assert conditions(effects)["ObjectiveAttainable"].status == "Unknown"


def test_the_condition_does_not_flap_with_every_request() -> None:
    """The contrary holds once it has been said for half a minute without a break; a silent round changes nothing."""
    start = fleet(objective=CEILING)
    memory, turned = FleetMemory(), 60
    seen: list[tuple[str, int]] = []
    for second, wavering in zip(range(0, 120, 2), cycle([False, True, None, True]), strict=False):
        said = True if second >= turned else wavering
        effects, memory = decide(saying(start, said, seconds=second), memory)
        events = [effect.reason for effect in effects if isinstance(effect, EmitEvent)]
        seen.extend((reason, second) for reason in events if reason in ("Attainable", "Unattainable"))
    assert [reason for reason, _ in seen] == ["Attainable", "Unattainable"]
    assert abs(seen[1][1] - turned - SETTLE_SECONDS) <= 6


def test_a_lost_answer_does_not_make_the_objective_unknown() -> None:
    """As with control: an engine that misses a round is as it was."""
    settled = saying(fleet(objective=CEILING), True)
    _, memory = decide(settled, FleetMemory())
    _, memory = decide(replace(settled, now_seconds=NOW + 2), memory)
    silent = replace(settled, pods=(pod("chat-0", report=None, unreachable="timed out"),), now_seconds=NOW + 4)
    assert not decide(silent, memory)[0]
