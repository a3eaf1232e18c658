"""Replays: a policy from an empty cluster to controlled engines, and what disturbs it on the way."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import KEY, jobs, pod, policy, profile, pushes, snapshot
from tests.fleet.world import Engine, World
from turbospec.fleet.effects import CreateProfilingJob, Effect, EmitEvent, EnsureRuntime, HarvestProfile, PushControl
from turbospec.fleet.snapshot import JobPhase, Mode


def set_job(fleet: World, **changes: object) -> None:
    """Change the last Job."""
    *earlier, last = fleet.snapshot.jobs
    fleet.snapshot = replace(fleet.snapshot, jobs=(*earlier, replace(last, **changes)))  # type: ignore[arg-type]


def two_engines(**policy_changes: Any) -> World:
    shown = snapshot(policies=(policy(**policy_changes),), pods=(pod("chat-0"), pod("chat-1")))
    return World(shown, {name: Engine(name) for name in ("chat-0", "chat-1")})


def test_policy_goes_from_nothing_to_controlled() -> None:
    """No pods, pods without runtime, engines starting, profiling, harvest, control: one Job, every stage said."""
    fleet = World(snapshot(pods=()))
    first = fleet.round()
    assert [effect.namespace for effect in first if isinstance(effect, EnsureRuntime)] == ["team"]
    assert fleet.reasons()["Ready"] == "NoPodsMatched"

    bare = pod("chat-0", injected=False, report=None)
    fleet.snapshot = replace(fleet.snapshot, pods=(bare,))
    fleet.round()
    assert fleet.reasons()["Injected"] == "NotInjected"

    starting = pod("chat-0", uid="pod-new", ready=False, report=None, unreachable="connection refused")
    fleet.snapshot = replace(fleet.snapshot, pods=(starting,))
    fleet.round()
    assert fleet.reasons()["Ready"] == "EngineStarting"

    fleet.engines = {"chat-0": Engine("chat-0")}
    not_ready = pod("chat-0", uid="pod-new", ready=False)
    fleet.snapshot = replace(fleet.snapshot, pods=(not_ready,))
    effects = fleet.round()
    assert not jobs(effects)
    assert fleet.reasons()["Profiled"] == "ProfilingPending"

    fleet.snapshot = replace(fleet.snapshot, pods=(replace(not_ready, ready=True),))
    effects = fleet.round()
    (created,) = jobs(effects)
    assert created.name == f"turbospec-profile-{KEY}"
    assert created.template_pod == "chat-0"
    assert created.draft_tokens == (0, 1, 3, 7)
    assert fleet.reasons()["Profiled"] == "ProfilingInProgress"
    waiting = fleet.engines["chat-0"].base
    assert waiting is not None
    assert waiting.latency is None

    fleet.rounds(20)
    assert "profile watch -n team" in {c.type: c.message for c in fleet.statuses["chat"].conditions}["Profiled"]

    set_job(fleet, phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=fleet.now)
    effects = fleet.round()
    assert [effect.profile for effect in effects if isinstance(effect, HarvestProfile)] == [f"profile-{KEY}"]

    fleet.rounds(2)
    document = fleet.engines["chat-0"].base
    assert document is not None
    assert document.latency == profile().latency
    assert fleet.reasons() == {
        "Profiled": "ProfileReady",
        "Injected": "Injected",
        "Controlled": "Controlled",
        "Worthwhile": "PlainNotMeasured",
        "Ready": "AllEnginesControlled",
    }
    assert fleet.statuses["chat"].controlled == fleet.statuses["chat"].pods == 1
    assert fleet.statuses["chat"].profile == f"profile-{KEY}"
    assert len([effect for _, effect in fleet.effects if isinstance(effect, CreateProfilingJob)]) == 1


def test_restart_at_any_round_repeats_nothing() -> None:
    """A second operator that knows nothing makes no second Job, sends no document and tells no event anew."""
    undisturbed: list[str] = []
    for restarted_after in (None, *range(1, 12)):
        fleet = two_engines()
        for number in range(1, 16):
            if number == 5:
                set_job(fleet, phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=fleet.now)
            fleet.round()
            if number == restarted_after:
                fleet.restart()
        seen = [effect for _, effect in fleet.effects]
        assert len([effect for effect in seen if isinstance(effect, CreateProfilingJob)]) == 1, restarted_after
        events = [effect.reason for effect in seen if isinstance(effect, EmitEvent)]
        undisturbed = undisturbed or events
        assert events == undisturbed, restarted_after
        for engine in fleet.engines.values():
            ids = [document.document_id for document in engine.received]
            # One waiting document, one with the model, and at most one heartbeat of either in these 30 s.
            assert len(set(ids)) == 2, restarted_after
            assert len(ids) <= 3, restarted_after


def test_failing_job_is_tried_again_with_pauses_that_grow_up_to_an_hour() -> None:
    """Attempts have their own names, only the newest Job has to be there still, and the condition says what to do."""
    fleet = two_engines()
    assert jobs(fleet.round())
    for pause in (30, 120, 480, 1920, 3600, 3600):
        ended = fleet.now
        set_job(fleet, phase=JobPhase.FAILED, failure="out of memory", finished_seconds=ended)
        fleet.snapshot = replace(fleet.snapshot, jobs=fleet.snapshot.jobs[-1:])
        fleet.now += pause - 20
        while not jobs(fleet.round()):
            assert fleet.now < ended + pause + 4
        assert fleet.now >= ended + pause
    set_job(fleet, phase=JobPhase.FAILED, failure="out of memory", finished_seconds=fleet.now)
    created = [effect for _, effect in fleet.effects if isinstance(effect, CreateProfilingJob)]
    names = [effect.name.removeprefix(f"turbospec-profile-{KEY}") for effect in created]
    assert names == ["", *(f"-{attempt}" for attempt in range(2, 8))]
    fleet.round()
    message = {c.type: c.message for c in fleet.statuses["chat"].conditions}["Profiled"]
    assert fleet.reasons()["Profiled"] == "ProfilingFailed"
    assert "out of memory" in message
    assert "kubectl delete job" in message
    fleet.snapshot = replace(fleet.snapshot, jobs=())
    fleet.now += 30  # until then the last attempt, just asked for, may be one that does not show yet
    assert [effect.attempt for effect in jobs(fleet.round())] == [1]


def test_profile_edited_to_nonsense_leaves_the_good_model_in_the_engines() -> None:
    """Nothing is pushed that would take the model away, also after a restart and after the profile is gone."""
    fleet = two_engines()
    fleet.snapshot = replace(fleet.snapshot, profiles=(profile(),))
    fleet.rounds(3)
    good = {name: engine.base for name, engine in fleet.engines.items()}
    fleet.snapshot = replace(fleet.snapshot, profiles=(profile(latency=None, invalid="cell 3 is negative"),))
    fleet.rounds(15)
    fleet.restart()
    fleet.rounds(15)
    assert {name: engine.base for name, engine in fleet.engines.items()} == good
    assert fleet.reasons()["Profiled"] == "ProfileInvalid"
    assert fleet.reasons()["Ready"] == "AllEnginesControlled"
    fleet.snapshot = replace(fleet.snapshot, profiles=())
    effects = fleet.rounds(3)
    assert {name: engine.base for name, engine in fleet.engines.items()} == good
    assert len(jobs(effects)) == 1


def test_new_pod_has_model_and_prior_before_it_is_ready() -> None:
    """The first document of a scaled-up engine carries what its peers have learnt; mature peers get nothing new."""
    fleet = two_engines()
    fleet.snapshot = replace(fleet.snapshot, profiles=(profile(),))
    fleet.rounds(3)
    for engine in fleet.engines.values():
        engine.own_samples = (300.0, 200.0, 90.0, 20.0, 0.0, 0.0, 0.0)
    fleet.rounds(1)
    counts = {name: len(engine.received) for name, engine in fleet.engines.items()}
    fleet.engines["chat-2"] = Engine("chat-2", batch=0)
    fleet.snapshot = replace(fleet.snapshot, pods=(*fleet.snapshot.pods, pod("chat-2", ready=False)))
    fleet.round()
    document = fleet.engines["chat-2"].base
    assert document is not None
    assert document.latency is not None
    assert len(document.prior) == 4
    assert document.prior[0].acceptance == pytest.approx(0.9, abs=0.04)
    assert document.prior[0].samples > document.prior[3].samples
    assert {name: len(fleet.engines[name].received) for name in counts} == counts


def test_paused_and_resumed_policy_pushes_only_when_it_may() -> None:
    """Pausing stops documents and Jobs, heartbeats too; resuming goes on where it stopped."""
    fleet = two_engines()
    fleet.snapshot = replace(fleet.snapshot, profiles=(profile(),))
    fleet.rounds(3)
    fleet.snapshot = replace(fleet.snapshot, policies=(policy(mode=Mode.PAUSED, generation=2),))
    assert not pushes(fleet.rounds(20))
    assert fleet.reasons()["Ready"] == "Paused"
    fleet.snapshot = replace(fleet.snapshot, policies=(policy(generation=3),))
    effects = fleet.rounds(2)
    assert len(pushes(effects)) <= 2
    assert fleet.reasons()["Ready"] == "AllEnginesControlled"


def test_engine_that_starts_again_gets_its_document_again() -> None:
    """A new engine process under the same pod has nothing in force: it is told at once."""
    fleet = two_engines()
    fleet.snapshot = replace(fleet.snapshot, profiles=(profile(),))
    fleet.rounds(3)
    known = fleet.engines["chat-0"].base
    fleet.engines["chat-0"] = Engine("chat-0", engine_id="engine-reborn")
    (document,) = pushes(fleet.round())
    assert known is not None
    assert (document.engine.pod, document.document_id) == ("chat-0", known.document_id)


def test_pinning_needs_no_profile_and_ends_with_the_policy() -> None:
    """One allowed K is pushed as a table at once, and no Job is spent on it."""
    fleet = two_engines(draft_tokens=(5,))
    effects: list[Effect] = fleet.rounds(2)
    assert not jobs(effects)
    document = fleet.engines["chat-0"].base
    assert document is not None
    assert document.table is not None
    assert [row.draft_tokens for row in document.table] == [5]
    assert fleet.reasons()["Ready"] == "AllEnginesControlled"
    fleet.snapshot = replace(fleet.snapshot, policies=(policy(generation=2),))
    effects = fleet.rounds(2)
    assert len(jobs(effects)) == 1
    assert all(push.table is None for push in effects if isinstance(push, PushControl))
