"""An autoscaler that reads what speculation moves is kept from asking for more pods than it would at K = 0."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.builders import (
    KEY,
    LADDER,
    MODEL,
    NOW,
    conditions,
    jobs,
    pod,
    policy,
    profile,
    pushes,
    report,
    snapshot,
)
from tests.fleet.scaling_builders import hpa, metric
from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet.autoscalers import TOLERANCE, AutoscalerView, ScaleRule
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import ConditionValue
from turbospec.fleet.load import LoadSituation, capability
from turbospec.fleet.preserve import HOLD_SECONDS, PreserveMemory, bounded, observe
from turbospec.fleet.profiles import fitting
from turbospec.fleet.readings import EngineCurves, Kind, engine_curves, kind_of
from turbospec.fleet.snapshot import FleetSnapshot, Mode, PolicyView

ITL, KV = "vllm:inter_token_latency_seconds", "vllm:kv_cache_usage_perc"
PLACE = ("team", "deployment/chat", KEY)
KEPT = policy(preserve=True)


def on(name: str, ratio: float | None, **changes: Any) -> AutoscalerView:
    """Five replicas whose metric is at so much of its target."""
    read = metric(None if ratio is None else 40.0 * ratio, target=40.0, name=name)
    values: dict[str, Any] = {"metrics": (read,), "current": 5, "desired": 5}
    return hpa(**(values | changes))


def fleet(scaler: AutoscalerView, seconds: float = 0.0, wanted: PolicyView = KEPT, **engine: Any) -> FleetSnapshot:
    """Two engines that run four requests at K=3, on text that is easy to predict."""
    values: dict[str, Any] = {"acceptance": (0.9,) * 7, "acceptance_samples": (500.0,) * 7}
    said = report(**(values | engine))
    pods = tuple(pod(f"chat-{i}", report=replace(said, engine_id=f"engine-{i}")) for i in range(2))
    return snapshot(
        now_seconds=NOW + seconds, policies=(wanted,), pods=pods, profiles=(profile(),), autoscalers=(scaler,)
    )


def allowed(shown: FleetSnapshot, memory: FleetMemory | None = None) -> tuple[int, ...]:
    """The K that the engines are sent."""
    (one,) = {push.allowed_draft_tokens for push in pushes(decide(shown, memory or FleetMemory())[0])}
    return one


def compatible(shown: FleetSnapshot) -> ConditionValue:
    return conditions(decide(shown, FleetMemory())[0])["ScalingCompatible"]


@pytest.mark.parametrize(
    ("name", "query", "kind"),
    [
        (ITL, "", Kind.STEP_TIME),
        ("s0-prometheus", "histogram_quantile(0.95, sum by (le) (rate(vllm:inter_token_latency_seconds_bucket[1m])))",
         Kind.STEP_TIME),
        ("vllm_num_requests_running", "", Kind.RUNNING_REQUESTS),
        ("inference_objective_running_requests", "", Kind.RUNNING_REQUESTS),
        (KV, "", Kind.KV_CACHE),
        ("vllm:generation_tokens_total", "", None),
        ("vllm:num_requests_waiting", "", None),
        ("s0-prometheus", "max(turbospec_expected_load_ratio) + 0 * sum(vllm:num_requests_running)", None),
        ("cpu", "", None),
    ],
)  # fmt: skip
def test_what_a_metric_counts_is_told_by_its_names(name: str, query: str, kind: Kind | None) -> None:
    assert kind_of(metric(1.0, name=name, query=query)) is kind


@pytest.mark.parametrize(
    ("scaler", "engine", "expected"),
    [
        # At K=0 a step takes 0.63 of this one: four pods would do, and any draft keeps the fifth.
        (on(ITL, 1.0), {}, (0,)),
        # It cannot have fewer: what stays within its tolerance buys nothing.
        (on(ITL, 1.0, min_replicas=5), {}, (0, 1, 3)),
        # Nor more.
        (on(ITL, 2.0, max_replicas=5), {}, LADDER),
        # It scales at once, as Kubernetes 1.35 may be told to: what the tolerance forgave would now buy a pod.
        (on(ITL, 1.0, min_replicas=5, up=ScaleRule(0, tolerance=0.0)), {}, (0, 1)),
        # Faster requests hold less of the cache.
        (on(KV, 1.0), {}, LADDER),
        # Where drafts are refused they do not.
        (on(KV, 1.0), {"acceptance": (0.05,) * 7, "draft_tokens": 0}, (0,)),
        # Another metric wants the five pods anyway, and drafts of 3 are paid for with them.
        (on(ITL, 1.0, metrics=(metric(40.0, 40.0, name=ITL), metric(0.8))), {}, (0, 1, 3)),
        # Nobody is served: its metric has no value yet, and its first one shall be that of K=0.
        (on(ITL, None), {"running": 0}, (0,)),
    ],
)
def test_k_is_bounded_by_what_the_autoscaler_would_ask_for(
    scaler: AutoscalerView, engine: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert allowed(fleet(scaler, **engine)) == expected


@pytest.mark.parametrize("wanted", [policy(), policy(preserve=True, mode=Mode.ADVISE)])
def test_whoever_did_not_ask_for_it_keeps_every_k(wanted: PolicyView) -> None:
    memory = decide(fleet(on(ITL, 1.0), wanted=wanted), FleetMemory())[1]
    assert memory.preserved == {}
    if wanted.mode is Mode.ENFORCE:
        assert allowed(fleet(on(ITL, 1.0), wanted=wanted)) == LADDER


def test_the_document_is_that_of_the_engine_loop_with_fewer_k() -> None:
    """Not a pinned one: the loop goes on learning, and a pod that starts has the bound with its first document."""
    shown = fleet(on(ITL, 1.0))
    starting = replace(shown.pods[0], uid="young", name="young", ready=False)
    found = pushes(decide(replace(shown, pods=(*shown.pods, starting)), FleetMemory())[0])
    assert {push.document_id.partition("-")[0] for push in found} == {"local"}
    assert all(push.latency is not None for push in found)
    assert [push.allowed_draft_tokens for push in found] == [(0,)] * 3


def test_a_k_that_was_taken_out_stays_out_for_as_long_as_the_autoscaler_remembers() -> None:
    busy, idle = on(ITL, 1.0), on(ITL, 0.6, min_replicas=5)
    memory, seen = FleetMemory(), []
    for seconds in range(0, 700, 10):
        shown = fleet(busy if seconds < 100 else idle, seconds, draft_tokens=0 if seconds else 3)
        memory = decide(shown, memory)[1]
        seen.append((seconds, memory.preserved[PLACE].allowed))
    back = next(seconds for seconds, may in seen if may != (0,))
    assert 90 + HOLD_SECONDS <= back <= 110 + HOLD_SECONDS
    assert all(may == (0,) for seconds, may in seen if seconds < back)


def test_what_was_allowed_stays_so_while_the_metric_has_no_value() -> None:
    memory = decide(fleet(on(ITL, 1.0, min_replicas=5)), FleetMemory())[1]
    assert decide(fleet(on(ITL, None), 2.0), memory)[1].preserved[PLACE].allowed == (0, 1, 3)


def test_one_condition_says_that_it_is_kept() -> None:
    found = compatible(fleet(on(ITL, 1.0)))
    assert (found.status, found.reason) == ("True", "Preserved")
    assert "vllm:inter_token_latency_seconds" in found.message
    assert "K may be 0 at this load" in found.message


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (replace(fleet(on(ITL, 1.0)), profiles=()), "waits for a profile"),
        (fleet(on(ITL, 1.0), acceptance=(None,) * 7), "waits for the acceptance of the text"),
        (fleet(on("vllm:generation_tokens_total", 1.0)), "knows no bound for it"),
    ],
)
def test_where_no_bound_is_known_the_warning_says_what_for_want_of(shown: FleetSnapshot, why: str) -> None:
    found = compatible(shown)
    assert (found.status, found.reason) == ("False", "DistortedMetric")
    assert f"autoscaling.preserve {why}" in found.message
    assert "turbospec_expected_pods_at_full_load" in found.message


def test_a_job_measures_what_is_taken_out_too() -> None:
    """The bound is of the moment, the profile for good."""
    shown = replace(fleet(on(ITL, 1.0)), profiles=())
    (job,) = jobs(decide(shown, FleetMemory())[0])
    assert job.draft_tokens == LADDER


def test_what_pods_could_do_is_counted_within_the_bounds() -> None:
    said, known = fleet(on(ITL, 1.0)).pods[0].report, (PositionEstimate(0.9, None, 500.0),) * 7
    assert said is not None
    whole = capability(KEPT, said, fitting(profile()), known)
    few = capability(KEPT, said, fitting(profile()), known, (0,))
    assert whole is not None
    assert few is not None
    assert (whole.draft_tokens, few.draft_tokens) == (LADDER, (0,))
    assert "bounds" in LoadSituation.__dataclass_fields__


def curves(acceptance: float) -> EngineCurves:
    known = (PositionEstimate(acceptance, None, 500.0),) * 7
    return engine_curves(MODEL, known, LADDER, max_num_seqs=256, context_tokens=600.0)


def asks(ratio: float, scaler: AutoscalerView) -> int:
    """The documented algorithm, in other words than the product's."""
    replicas = scaler.current or 0
    wanted = replicas if 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE else math.ceil(round(ratio * replicas, 6))
    return max(scaler.min_replicas, min(wanted, scaler.max_replicas))


@settings(max_examples=150, deadline=None)
@given(
    batch=st.integers(1, 250),
    k=st.sampled_from(LADDER),
    acceptance=st.floats(0.0, 0.98),
    ratio=st.floats(0.2, 3.0),
    replicas=st.integers(1, 40),
    name=st.sampled_from([ITL, KV, "vllm:num_requests_running"]),
)
def test_no_k_that_is_allowed_asks_for_more_than_k_0(
    *, batch: int, k: int, acceptance: float, ratio: float, replicas: int, name: str
) -> None:
    """A law: whatever runs now and whatever the metric's unit, at the same load and as far as the profile is right."""
    known = curves(acceptance)
    scaler = on(name, ratio, current=replicas, max_replicas=100)
    memory = observe(None, known, [report(running=batch, draft_tokens=k)], NOW)
    found = bounded(memory, known, scaler, LADDER)
    kind = kind_of(scaler.metrics[0])
    assert kind is not None
    assert found.allowed is not None
    assert found.allowed[0] == 0
    load = known.rate(k, batch)
    unmoved = asks(ratio * known.reading(kind, 0, load) / known.reading(kind, k, load), scaler)
    for each in found.allowed:
        assert asks(ratio * known.reading(kind, each, load) / known.reading(kind, k, load), scaler) <= unmoved


def test_equal_load_is_equal_tokens_per_second_at_every_k() -> None:
    known = curves(0.8)
    for k in LADDER:
        assert known.rate(k, known.batch(k, 2000.0)) == pytest.approx(2000.0, rel=0.01)
    assert known.batch(3, 2000.0) < known.batch(0, 2000.0)
    assert known.batch(0, 1e9) == 256.0


def test_after_a_pause_nothing_is_averaged_with_what_was_before() -> None:
    known = curves(0.8)
    before = PreserveMemory(NOW, rate=9e9, shown=dict.fromkeys(Kind, 9e9))
    fresh = observe(None, known, [report(running=8)], NOW + 100)
    assert observe(before, known, [report(running=8)], NOW + 100) == fresh
    assert observe(before, known, [report(running=8)], NOW + 10).rate > 1e9
