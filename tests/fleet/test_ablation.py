"""Each effect of the fleet loop, each part of a document, and all that is seen of scaling earns its place: without it
the test named here fails."""

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from tests.fleet.builders import LADDER, NOW
from tests.fleet.scaling_builders import hpa
from turbospec.control.objective import Objective
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
Blindness = Callable[[FleetSnapshot], FleetSnapshot]


def without(kind: type[Effect]) -> Change:
    return lambda effect, _: None if isinstance(effect, kind) else effect


def pushing(change: Callable[[PushControl, FleetSnapshot], PushControl | None]) -> Change:
    return lambda effect, seen: change(effect, seen) if isinstance(effect, PushControl) else effect


def _only_when_ready(push: PushControl, seen: FleetSnapshot) -> PushControl | None:
    return push if any(pod.ready for pod in seen.pods if pod.uid == push.engine.uid) else None


def stating(**changes: Any) -> Change:
    return lambda effect, _: replace(effect, **changes) if isinstance(effect, SetPolicyStatus) else effect


def _unsaid(kind: str) -> Change:
    def change(effect: Effect, _: FleetSnapshot) -> Effect:
        if not isinstance(effect, SetPolicyStatus):
            return effect
        return replace(effect, conditions=tuple(each for each in effect.conditions if each.type != kind))

    return change


TOLD = "test_before_ready.test_a_new_engine_is_told_model_and_prior_when_it_first_answers"
WORST = "test_scale_metrics.test_the_worst_of_several_targets_is_said"
WAITS = "test_scale_events.test_profiling_waits_while_replicas_are_about_to_move"
MEASURED = "test_job_queue.test_nothing_is_measured_in_a_scale_event"
TEACHES = "test_before_ready.test_pods_that_come_or_go_teach_nobody"
CAPACITY = "test_load.test_pods_that_are_not_ready_can_do_nothing_yet_and_terminating_ones_nothing_more"
ASKED = "test_queried_demand.test_the_condition_says_whether_there_is_a_number_and_what_to_do"
STARTING = {"ready": False, "changed_seconds": NOW - 30}
ENDING = {"terminating": True, "changed_seconds": NOW - 30}
VARIANTS = "test_variants.test_status_and_condition_say_it"
TABLE = "test_before_ready.test_under_the_operators_tables_it_is_told_a_table_when_it_first_answers"
ABLATIONS: list[tuple[str, Change, str, dict[str, Any]]] = [
    ("PushControl", without(PushControl), "test_pushing.test_not_ready_pod_gets_its_document", {}),
    ("PushControl before Ready", pushing(_only_when_ready), TOLD, {"ready": False}),
    ("PushControl.latency", pushing(lambda push, _: replace(push, latency=None)), TOLD, {"ready": True}),
    ("PushControl.prior", pushing(lambda push, _: replace(push, prior=())), TOLD, {"ready": True}),
    ("PushControl.table", pushing(lambda push, _: replace(push, table=None)), TABLE, {}),
    (
        "PushControl.allowed_draft_tokens",
        pushing(lambda push, _: replace(push, allowed_draft_tokens=LADDER)),
        "test_preserve.test_the_document_is_that_of_the_engine_loop_with_fewer_k",
        {},
    ),
    (
        "PushControl.objective",
        pushing(lambda push, _: replace(push, objective=Objective())),
        "test_objective.test_a_changed_objective_is_pushed_at_once",
        {},
    ),
    (
        "PushControl.ttl_seconds",
        pushing(lambda push, _: replace(push, ttl_seconds=None)),
        "test_table_mode.test_engine_stuck_at_zero_is_probed_with_the_smallest_draft_for_a_moment",
        {},
    ),
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
    ("SetPolicyStatus: ScalingCompatible", _unsaid("ScalingCompatible"), WORST, {}),
    (
        "SetPolicyStatus: DemandKnown",
        _unsaid("DemandKnown"),
        ASKED,
        {"answers": (), "status": "Unknown", "reason": "QueryPending", "text": "not been asked yet"},
    ),
    (
        "SetPolicyStatus.targets",
        stating(targets=()),
        "test_value.test_a_fleet_is_told_in_its_status_and_once_in_an_event",
        {},
    ),
    ("SetPolicyStatus.variants", stating(variants=()), VARIANTS, {}),
    ("SetPolicyStatus.stopped", stating(stopped=()), "test_breaker.test_status_condition_and_event_say_what_to_do", {}),
    ("SetProfileStatus", without(SetProfileStatus), "test_profile_status.test_one_that_stands_in_says_for_whom", {}),
    ("EmitEvent", without(EmitEvent), "test_status_and_events.test_benign_reasons_make_normal_events", {}),
]


def unseeing(**changes: Any) -> Blindness:
    return lambda seen: replace(seen, **changes)


def all_alike(**changes: Any) -> Blindness:
    """Every pod is taken to be so."""
    return lambda seen: replace(seen, pods=tuple(replace(pod, **changes) for pod in seen.pods))


UNSEEN: list[tuple[str, Blindness, str, dict[str, Any]]] = [
    ("autoscalers: Jobs wait", unseeing(autoscalers=()), WAITS, {"scaler": hpa(desired=3), "waits": True}),
    ("autoscalers: the warning", unseeing(autoscalers=()), WORST, {}),
    (
        "autoscalers: bounds on K",
        unseeing(autoscalers=()),
        "test_preserve.test_the_document_is_that_of_the_engine_loop_with_fewer_k",
        {},
    ),
    (
        "autoscalers: whose load it is",
        unseeing(autoscalers=()),
        "test_scale_metrics.test_the_load_is_that_of_the_target_that_the_autoscaler_names",
        {},
    ),
    (
        "foreign autoscalers",
        unseeing(foreign_autoscalers=()),
        "test_scale_metrics.test_one_with_a_resource_of_its_own_is_judged_by_what_that_says",
        {"system": "Knative", "metric_name": "concurrency", "status": "False", "reason": "DistortedMetric"},
    ),
    (
        "demand from a gateway",
        unseeing(queried=()),
        "test_queried_demand.test_what_the_gateway_counts_is_the_demand",
        {},
    ),
    (
        "demand of the days before",
        unseeing(history=None),
        "test_forecast.test_it_takes_the_place_of_the_slope_in_what_is_expected",
        {},
    ),
    ("pods that start: Jobs wait", all_alike(ready=True), MEASURED, {"changes": STARTING, "measures": False}),
    ("pods that end: Jobs wait", all_alike(terminating=False), MEASURED, {"changes": ENDING, "measures": False}),
    ("pods that start teach nobody", all_alike(ready=True), TEACHES, {"changes": {"ready": False}}),
    ("pods that drain teach nobody", all_alike(terminating=False), TEACHES, {"changes": {"terminating": True}}),
    ("pods that start add nothing", all_alike(ready=True), CAPACITY, {}),
    ("pods that drain add nothing", all_alike(terminating=False), CAPACITY, {}),
    (
        "pods that warm up are no evidence",
        all_alike(ready_since_seconds=None),
        "test_young_pods.test_a_pod_that_warms_up_is_no_outlier",
        {},
    ),
    (
        "text of pods that start",
        all_alike(ready=True),
        "test_young_pods.test_what_a_pod_is_asked_before_it_is_ready_is_nobodys_text",
        {},
    ),
]


def run(
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    change: Change | None,
    arguments: dict[str, Any],
    blind: Blindness | None = None,
) -> None:
    """A test of this folder, in the places where it and its helpers decide."""
    file, name = place.split(".")

    def changed(observed: FleetSnapshot, memory: FleetMemory) -> tuple[tuple[Effect, ...], FleetMemory]:
        effects, remembered = decide(observed if blind is None else blind(observed), memory)
        kept = [effect if change is None else change(effect, observed) for effect in effects]
        return tuple(effect for effect in kept if effect is not None), remembered

    test = getattr(importlib.import_module(f"tests.fleet.{file}"), name)
    helpers = [module for name, module in sys.modules.items() if name.startswith("tests.fleet.") and name != __name__]
    for module in helpers:
        if getattr(module, "decide", None) is decide:
            monkeypatch.setattr(module, "decide", changed)
    test(**arguments)


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


@pytest.mark.parametrize(("blind", "place", "arguments"), [row[1:] for row in UNSEEN], ids=[r[0] for r in UNSEEN])
def test_where_it_is_not_seen_the_named_test_fails(
    blind: Blindness, place: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the fleet loop does about scale events hangs on seeing them."""
    run(place, monkeypatch, None, arguments)
    monkeypatch.undo()
    with pytest.raises((AssertionError, ValueError, KeyError)):
        run(place, monkeypatch, None, arguments, blind)


def test_every_effect_is_among_them() -> None:
    """A new one has to name the test that it is for."""
    named = {re.split(r"\W", name)[0] for name, *_ in ABLATIONS}
    assert named == {kind.__name__ for kind in get_args(Effect)}


def test_every_part_of_a_document_is_among_them() -> None:
    """All but its envelope: to whom, from whom, and why."""
    parts = {each.name for each in fields(PushControl) if not each.name.startswith(("engine", "document", "policy"))}
    assert {name.partition("PushControl.")[2] for name, *_ in ABLATIONS} == parts - {"reason"} | {""}
