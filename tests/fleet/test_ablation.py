"""Each effect of the fleet loop, and each part of a document, earns its place: without it the test named here fails."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest

from turbospec.fleet.decide import decide
from turbospec.fleet.effects import (
    CreateProfilingJob,
    Effect,
    EmitEvent,
    EnsureRuntime,
    HarvestProfile,
    PushControl,
    SetPolicyStatus,
    SetProfileStatus,
    WriteServedProfile,
)
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.snapshot import FleetSnapshot

Change = Callable[[Effect, FleetSnapshot], Effect | None]


def without(kind: type[Effect]) -> Change:
    return lambda effect, _: None if isinstance(effect, kind) else effect


def pushing(change: Callable[[PushControl, FleetSnapshot], PushControl | None]) -> Change:
    return lambda effect, seen: change(effect, seen) if isinstance(effect, PushControl) else effect


def _only_when_ready(push: PushControl, seen: FleetSnapshot) -> PushControl | None:
    return push if any(pod.ready for pod in seen.pods if pod.uid == push.engine.uid) else None


TOLD = "test_before_ready.test_a_new_engine_is_told_model_and_prior_when_it_first_answers"
TABLE = "test_before_ready.test_under_the_operators_tables_it_is_told_a_table_when_it_first_answers"
ABLATIONS: list[tuple[str, Change, str, dict[str, Any]]] = [
    ("PushControl", without(PushControl), "test_pushing.test_not_ready_pod_gets_its_document", {}),
    ("PushControl before Ready", pushing(_only_when_ready), TOLD, {"ready": False}),
    ("PushControl.latency", pushing(lambda push, _: replace(push, latency=None)), TOLD, {"ready": True}),
    ("PushControl.prior", pushing(lambda push, _: replace(push, prior=())), TOLD, {"ready": True}),
    ("PushControl.table", pushing(lambda push, _: replace(push, table=None)), TABLE, {}),
    ("EnsureRuntime", without(EnsureRuntime), "test_life_of_a_policy.test_policy_goes_from_nothing_to_controlled", {}),
    (
        "CreateProfilingJob",
        without(CreateProfilingJob),
        "test_profiling_jobs.test_engines_of_one_kind_share_one_job_and_every_kind_has_its_own",
        {},
    ),
    (
        "HarvestProfile",
        without(HarvestProfile),
        "test_profiling_jobs.test_result_is_harvested_until_the_profile_is_there",
        {},
    ),
    (
        "WriteServedProfile",
        without(WriteServedProfile),
        "test_serving_profile.test_what_engines_have_measured_becomes_a_profile",
        {},
    ),
    ("SetPolicyStatus", without(SetPolicyStatus), "test_conditions.test_ready_counts_ready_pods_only", {}),
    ("SetProfileStatus", without(SetProfileStatus), "test_profile_status.test_one_that_stands_in_says_for_whom", {}),
    ("EmitEvent", without(EmitEvent), "test_status_and_events.test_benign_reasons_make_normal_events", {}),
]


def run(place: str, monkeypatch: pytest.MonkeyPatch, change: Change | None, arguments: dict[str, Any]) -> None:
    """A test of this folder, in the places where it and its helpers decide."""
    file, name = place.split(".")

    def changed(observed: FleetSnapshot, memory: FleetMemory) -> tuple[tuple[Effect, ...], FleetMemory]:
        effects, remembered = decide(observed, memory)
        kept = [effect if change is None else change(effect, observed) for effect in effects]
        return tuple(effect for effect in kept if effect is not None), remembered

    for module in (importlib.import_module(f"tests.fleet.{file}"), importlib.import_module("tests.fleet.world")):
        if getattr(module, "decide", None) is decide:
            monkeypatch.setattr(module, "decide", changed)
    getattr(importlib.import_module(f"tests.fleet.{file}"), name)(**arguments)


@pytest.mark.parametrize(
    ("change", "place", "arguments"), [row[1:] for row in ABLATIONS], ids=[r[0] for r in ABLATIONS]
)
def test_without_it_the_named_test_fails(
    change: Change, place: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with it, run in the same way, it passes."""
    run(place, monkeypatch, None, arguments)
    monkeypatch.undo()
    with pytest.raises((AssertionError, ValueError, KeyError)):
        run(place, monkeypatch, change, arguments)


def test_every_effect_is_among_them() -> None:
    """A new one has to name the test that it is for."""
    named = {name.split(".")[0].split()[0] for name, *_ in ABLATIONS}
    assert named == {kind.__name__ for kind in get_args(Effect)}
