"""Who keeps scaling on a metric that the drafter raises is told, and with Auto given, pods without it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.builders import KEY, LADDER, MODEL, NOW, latency_model, policy, snapshot
from tests.fleet.scaling_builders import hpa, metric
from tests.fleet.test_load import ROUND
from tests.fleet.test_variants import PROFILE, drafting_pod
from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet.autoscalers import AutoscalerView
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.preserve import PreserveMemory
from turbospec.fleet.preserve_worth import LEAST, replicas_saved, under_preserve
from turbospec.fleet.readings import EngineCurves, Kind, engine_curves
from turbospec.fleet.snapshot import PlainView, PodView, StartupVariant
from turbospec.fleet.worth import Variant, Worth

NAMES = {
    Kind.STEP_TIME: "vllm:inter_token_latency_seconds",
    Kind.RUNNING_REQUESTS: "vllm:num_requests_running",
    Kind.KV_CACHE: "vllm:kv_cache_usage_perc",
}
EASY = (PositionEstimate(0.9, None, 500.0),) * 7
PLACE = ("team", "deployment/chat", KEY)


def curves(factor: float = 1.0, estimates: tuple[PositionEstimate, ...] = ()) -> EngineCurves:
    """Of an engine whose steps take so much longer."""
    return engine_curves(
        latency_model(factor), estimates, LADDER if estimates else (0,), max_num_seqs=256, context_tokens=500.0
    )


def saved(
    kind: Kind,
    engine: EngineCurves,
    plain: EngineCurves,
    *,
    batch: float = 20.0,
    ratio: float = 1.0,
    share: float = 1.0,
) -> float | None:
    """The metric reads what such a batch of the engine reads at K = 0, over its target by so much."""
    shown = engine.reading(kind, 0, engine.rate(0, batch))
    scaler = hpa(metrics=(metric(40.0 * ratio, target=40.0, name=NAMES[kind]),))
    memory = PreserveMemory(NOW, shown={kind: shown})
    return replicas_saved(memory, engine, plain, scaler, draft_tokens=engine.draft_tokens, kv_share=share)


@pytest.mark.parametrize("kind", Kind)
@given(batch=st.floats(1.0, 200.0), ratio=st.floats(0.3, 3.0))
def test_an_engine_that_reads_the_same_saves_nothing(kind: Kind, batch: float, ratio: float) -> None:
    found = saved(kind, curves(), curves(), batch=batch, ratio=ratio)
    assert found is None or found == pytest.approx(0.0)


@pytest.mark.parametrize("kind", Kind)
@given(batch=st.floats(2.0, 200.0), slower=st.floats(1.01, 1.5))
def test_a_drafter_that_only_costs_time_saves_nothing(kind: Kind, batch: float, slower: float) -> None:
    found = saved(kind, curves(slower), curves(), batch=batch)
    assert found is not None
    assert LEAST <= found < 0.0


def test_longer_steps_take_more_replicas_than_they_are_longer() -> None:
    """Where inter-token latency hardly depends on the batch a shorter step needs a much smaller one."""
    found = saved(Kind.STEP_TIME, curves(1.08, EASY), curves())
    assert found is not None
    assert found < -0.16
    assert saved(Kind.STEP_TIME, curves(3.0), curves(), ratio=2.0) == LEAST


def test_fewer_running_requests_are_saved_replicas() -> None:
    """Drafts pay more there than what the drafter costs."""
    found = saved(Kind.RUNNING_REQUESTS, curves(1.08, EASY), curves())
    assert found is not None
    assert found > 0.2


def test_a_smaller_cache_is_fuller_with_the_same_requests() -> None:
    whole, half = (saved(Kind.KV_CACHE, curves(), curves(), share=share) for share in (1.0, 0.5))
    assert whole == pytest.approx(0.0)
    assert half is not None
    assert half < -0.3


@given(batch=st.floats(0.5, 250.0), k=st.sampled_from((0, *LADDER)))
@pytest.mark.parametrize("kind", Kind)
def test_what_delivers_a_reading_reads_it(kind: Kind, batch: float, k: int) -> None:
    known = curves(1.0, EASY)
    rate = known.rate(k, batch)
    assert known.rate_at(kind, k, known.reading(kind, k, rate)) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("scaler", [
    hpa(metrics=(metric(None, name=NAMES[Kind.STEP_TIME]),)),
    hpa(metrics=(metric(0.5, name="queue_length"),)),
    hpa(metrics=()),
], ids=["no value", "nothing that speculation moves", "no metric"])  # fmt: skip
def test_where_no_metric_tells_nothing_is_known(scaler: AutoscalerView) -> None:
    memory = PreserveMemory(NOW, shown=dict.fromkeys(Kind, 20.0))
    assert replicas_saved(memory, curves(), curves(), scaler, draft_tokens=(0,), kv_share=1.0) is None


@given(low=st.floats(-1.0, 0.5), width=st.floats(0.0, 0.4), most=st.none() | st.floats(-1.0, 0.9))
def test_it_is_worth_no_more_than_the_autoscaler_lets_be_saved(low: float, width: float, most: float | None) -> None:
    worth = Worth(low, low + width)
    found = under_preserve(worth, PreserveMemory(NOW, saved=most))
    assert found is not None
    bound = 1.0 if most is None else most
    # What is within the claim's interval tells nothing that it does not.
    assert found == (worth if bound >= worth.high else Worth(min(worth.low, bound), bound, kept=True))
    assert under_preserve(worth, None) == worth
    assert under_preserve(None, PreserveMemory(NOW, saved=most)) is None


def _easily(view: PodView) -> PodView:
    """On text that is easy to predict."""
    assert view.report is not None
    return replace(view, report=replace(view.report, acceptance=(0.97,) * 7))


def settled(**changes: Any) -> FleetMemory:
    """After a minute of two drafting engines under an HPA on inter-token latency, a plain engine being 8% faster."""
    scaler = hpa(metrics=(metric(40.0, target=40.0, name=NAMES[Kind.STEP_TIME]),), current=2, desired=2)
    wanted = policy(startup_variant=StartupVariant.AUTO, **changes)
    measured = replace(PROFILE, plain=PlainView(latency_model(1.0 / 1.08), 500_000, 30.0, 0.02), hold_out_error=0.02)
    memory = FleetMemory()
    for number in range(31):
        pods = tuple(_easily(drafting_pod(i, number * ROUND)) for i in range(2))
        shown = snapshot(
            now_seconds=NOW + number * ROUND,
            pods=pods,
            profiles=(measured,),
            policies=(wanted,),
            autoscalers=(scaler,),
        )
        memory = decide(shown, memory)[1]
    return memory


def test_pods_that_buy_replicas_at_every_k_are_recommended_plain() -> None:
    """Only where the metric is kept: by what pods could do, neither is surely better."""
    assert MODEL is PROFILE.latency
    kept, free = settled(preserve=True), settled(preserve=False)
    place = ("policy-chat", "deployment/chat")
    worth = kept.variants[place].worth
    assert worth is not None
    assert worth.recommended is Variant.PLAIN
    (row,) = kept.policies["policy-chat"].status.variants
    assert "by the metric that autoscaling.preserve keeps" in row.message
    saves = free.variants[place].worth
    assert saves is not None
    assert saves.recommended is Variant.EITHER
    assert kept.preserved[PLACE].saved is not None
