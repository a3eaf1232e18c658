"""When documents are put to engines: when they are news, as heartbeats, and again where they had no effect."""

from dataclasses import replace

import pytest

from tests.fleet.builders import NOW, latency_model, pod, policy, profile, pushes, report, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import EngineAddress, PushControl, SetPolicyStatus
from turbospec.fleet.snapshot import EngineLoopMode, FleetSnapshot

READY = snapshot(profiles=(profile(),))


def first_document(observed: FleetSnapshot = READY) -> PushControl:
    (document,) = pushes(decide(observed, FleetMemory())[0])
    return document


def applied(document_id: str | None, observed: FleetSnapshot = READY, **changes: object) -> FleetSnapshot:
    """The engine has this document in force."""
    (view,) = observed.pods
    assert view.report is not None
    said = replace(view.report, applied_id=document_id, **changes)  # type: ignore[arg-type]  # any field of the report
    return replace(observed, pods=(replace(view, report=said),))


def at(observed: FleetSnapshot, seconds: float) -> FleetSnapshot:
    return replace(observed, now_seconds=NOW + seconds)


def push_times(observed: FleetSnapshot, memory: FleetMemory, start: float, end: float) -> list[float]:
    times: list[float] = []
    clock = start
    while clock <= end:
        effects, memory = decide(at(observed, clock), memory)
        times.extend([clock] * len(pushes(effects)))
        clock += 2
    return times


def test_document_holds_model_allowed_set_and_address() -> None:
    """The engine loop gets everything it needs in one document."""
    document = first_document()
    assert document.engine == EngineAddress("team", "chat-0", "pod-chat-0")
    assert document.latency == profile().latency
    assert document.allowed_draft_tokens == (0, 1, 3, 7)
    assert document.table is None
    assert document.ttl_seconds is None
    assert (document.policy_namespace, document.policy_name, document.policy_generation) == ("team", "chat", 1)


def test_applied_document_is_only_repeated_as_a_heartbeat() -> None:
    """In force: once every 20 s, so that the engine knows its operator."""
    document = first_document()
    _, memory = decide(READY, FleetMemory())
    assert push_times(applied(document.document_id), memory, 2, 62) == [20, 40, 60]


def test_restarted_operator_puts_nothing_that_is_in_force() -> None:
    """An empty memory finds the applied id equal: the first push is a heartbeat 20 s later."""
    document = first_document()
    assert push_times(applied(document.document_id), FleetMemory(), 2, 30) == [22]


def test_document_without_effect_is_repeated_with_growing_pauses() -> None:
    """An engine that does not take a document is asked again after 4, 8, 16, then every 20 s: never every round."""
    assert push_times(READY, FleetMemory(), 0, 90) == [0, 4, 12, 28, 48, 68, 88]


def test_other_document_in_force_is_replaced_at_once() -> None:
    """Whoever wrote it: the desired document is what counts."""
    document = first_document()
    _, memory = decide(applied(document.document_id), FleetMemory())
    assert push_times(applied("local-0123"), memory, 2, 2) == [2]


def test_id_is_a_function_of_content() -> None:
    """Equal content, equal id; any change of what the engine acts on, another id; an edit without effect, the same."""
    document = first_document()
    assert first_document().document_id == document.document_id
    same = replace(READY, policies=(policy(generation=9),))
    assert first_document(same).document_id == document.document_id
    others = [
        replace(READY, policies=(policy(draft_tokens=(0, 3)),)),
        replace(READY, policies=(policy(name="other"),)),
        replace(READY, profiles=(profile(latency=latency_model(1.5)),)),
        replace(READY, profiles=()),
    ]
    ids = {first_document(other).document_id for other in others}
    assert len(ids) == len(others)
    assert document.document_id not in ids


def test_ids_keep_to_the_wire_format() -> None:
    """At most 64 characters of [A-Za-z0-9._-]."""
    samples = {"acceptance": (0.5,) * 7, "acceptance_samples": (99.0,) * 7}
    grown = [pod(f"chat-{n}", report=report(engine_id=str(n), **samples)) for n in range(3)]
    effects, _ = decide(replace(READY, pods=tuple(grown)), FleetMemory())
    for document in pushes(effects):
        assert document.prior
        assert 0 < len(document.document_id) <= 64
        assert all(character.isalnum() or character in "._-" for character in document.document_id)


@pytest.mark.parametrize("applied_id", [None, "waiting-00", "pinned-00"])
def test_waiting_document_comes_first_where_there_is_no_model_to_lose(applied_id: str | None) -> None:
    """Without a profile the engine gets its allowed set, and no model, table or prior."""
    (document,) = pushes(decide(applied(applied_id, snapshot()), FleetMemory())[0])
    assert document.document_id.startswith("waiting-")
    assert (document.latency, document.table, document.prior) == (None, None, ())


@pytest.mark.parametrize("applied_id", ["local-00", "table-00", "somebody-elses", "local-00-AB"])
def test_waiting_document_never_replaces_a_model(applied_id: str) -> None:
    """What an engine has learnt to use is not taken from it because the operator knows less."""
    assert not pushes(decide(applied(applied_id, snapshot()), FleetMemory())[0])


def test_overlay_is_left_to_run_out() -> None:
    """While an overlay is in force its end is awaited, also by an operator that has just started; but not for ever."""
    document = first_document()
    overlaid = applied("probe-00-1", applied_overlay=True)
    assert push_times(overlaid, FleetMemory(), 0, 8) == []
    assert push_times(overlaid, FleetMemory(), 0, 10) == [10]
    _, memory = decide(applied(document.document_id), FleetMemory())
    assert push_times(overlaid, memory, 2, 32) == [30]


def test_engine_with_orders_counts_as_controlled_while_newer_ones_are_on_their_way() -> None:
    """A new table every few seconds must not make conditions flap; one that never arrives must show."""
    observed, memory = applied("local-00"), FleetMemory()
    reasons: list[tuple[int, str]] = []
    for seconds in range(0, 60, 2):
        effects, memory = decide(at(observed, seconds), memory)
        reasons.extend(
            (seconds, condition.reason)
            for effect in effects
            if isinstance(effect, SetPolicyStatus)
            for condition in effect.conditions
            if condition.type == "Controlled"
        )
    assert list(dict.fromkeys(reason for _, reason in reasons)) == ["Controlled", "Pending"]
    assert min(seconds for seconds, reason in reasons if reason == "Pending") == 14


def test_not_ready_pod_gets_its_document() -> None:
    """The engine answers before the pod is Ready: its document waits for the first request, not the other way."""
    assert pushes(decide(replace(READY, pods=(pod(ready=False),)), FleetMemory())[0])


def test_switch_to_the_engine_loop_takes_the_table_away() -> None:
    """Loop Local pushes the model over the operator's table."""
    document = first_document(applied("table-00"))
    assert document.table is None
    assert document.latency is not None
    table_loop = replace(READY, policies=(policy(loop=EngineLoopMode.TABLE),))
    assert not pushes(decide(applied(document.document_id, table_loop), FleetMemory())[0])
