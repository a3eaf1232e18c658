"""Offered over attainable work: what it says of known engines, and the laws that hold for all of them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.builders import LADDER, MODEL, step_seconds
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Attainable, Capability, attainable, load_signal
from turbospec.fleet.demand import DRAIN_SECONDS, Demand, Lengths
from turbospec.fleet.effects import TableRange

CHAT = Lengths(prompt_tokens=256.0, prefill_tokens=256.0, output_tokens=256.0)
UNPROMPTED = Lengths(prompt_tokens=0.0, prefill_tokens=0.0, output_tokens=200.0)
LONG_PROMPTS = Lengths(prompt_tokens=16000.0, prefill_tokens=16000.0, output_tokens=40.0)
CACHED_PROMPTS = replace(LONG_PROMPTS, prefill_tokens=400.0)


def text(acceptance: float | None) -> tuple[PositionEstimate, ...]:
    return (PositionEstimate(acceptance, None, 500.0),) * 7


ENGINE = Capability(
    latency=MODEL,
    estimates=text(0.6),
    draft_tokens=LADDER,
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    kv_cache_tokens=450_000,
)


def known(engine: Capability, lengths: Lengths = CHAT) -> Attainable:
    found = attainable(engine, lengths)
    assert found is not None
    return found


@pytest.mark.parametrize("k", LADDER)
def test_decode_capacity_is_what_a_full_batch_delivers(k: int) -> None:
    """Without prompts, ceilings or a short KV cache the engine runs ``max_num_seqs`` requests."""
    found = known(replace(ENGINE, draft_tokens=(k,)), UNPROMPTED)
    tokens = sum(0.6**j for j in range(k + 1))
    expected = 256 * tokens / (step_seconds(256, k) * (1 + 100 / 1e5)) / 200
    assert found.decode == pytest.approx(expected, rel=0.02)
    assert found.requests_per_second == found.decode


@pytest.mark.parametrize(
    ("binding", "engine", "lengths"),
    [
        ("decode", ENGINE, UNPROMPTED),
        ("decode", replace(ENGINE, objective=Objective(time_per_output_token_seconds=0.012)), CHAT),
        ("prefill", ENGINE, replace(LONG_PROMPTS, output_tokens=4.0)),
        ("prefill", replace(ENGINE, objective=Objective(time_to_first_token_seconds=0.03)), CHAT),
        ("kv", replace(ENGINE, kv_cache_tokens=40_000), CHAT),
        ("kv", ENGINE, CACHED_PROMPTS),
    ],
)
def test_the_phase_that_runs_out_is_named(binding: str, engine: Capability, lengths: Lengths) -> None:
    found = known(engine, lengths)
    least = min(("prefill", "decode", "kv"), key=lambda phase: float(getattr(found, phase)))
    assert least == binding


def test_a_full_kv_cache_bounds_the_batch() -> None:
    """A cache of 4,000 tokens holds 40 requests that have, on average, 100 tokens of their output in it."""
    short, narrow = known(replace(ENGINE, kv_cache_tokens=4000), UNPROMPTED), replace(ENGINE, max_num_seqs=40)
    assert short.kv == pytest.approx(known(narrow, UNPROMPTED).decode, rel=0.01)


def test_prompts_that_the_prefix_cache_has_cost_no_prefill() -> None:
    assert known(ENGINE, CACHED_PROMPTS).requests_per_second > 2 * known(ENGINE, LONG_PROMPTS).requests_per_second


def test_a_ceiling_that_no_pod_could_meet_is_left_out() -> None:
    """More pods would not meet it either: asking for them for ever helps nobody."""
    impossible = replace(ENGINE, objective=Objective(time_per_output_token_seconds=1e-5))
    assert known(impossible) == known(ENGINE)


def test_an_engine_that_nobody_steers_has_the_capacity_of_its_table() -> None:
    whole = TableRange(1, 65536, 7)
    held = replace(ENGINE, table=(whole,))
    assert known(held) == known(replace(ENGINE, draft_tokens=(7,)))
    # Above batch 8 the table says K=0: at saturation it is worth what K=0 is.
    switching = replace(ENGINE, table=(TableRange(1, 8, 7), TableRange(9, 65536, 0)))
    plain = known(replace(ENGINE, draft_tokens=(0,)))
    assert known(switching).requests_per_second == pytest.approx(plain.requests_per_second, rel=0.01)


def test_unknown_acceptance_is_unknown_capacity_but_where_nothing_is_drafted() -> None:
    unknown = replace(ENGINE, estimates=text(None))
    assert attainable(unknown, CHAT) is None
    assert attainable(replace(ENGINE, estimates=()), CHAT) is None
    assert known(replace(unknown, draft_tokens=(0,))) == known(replace(ENGINE, draft_tokens=(0,)))


def test_no_pods_have_no_load() -> None:
    assert load_signal(Demand(1.0), CHAT, []) is None


def test_requests_that_wait_are_work_to_drain() -> None:
    pod = known(ENGINE)
    waiting, coming = (load_signal(d, CHAT, [pod]) for d in (Demand(1.0, 2 * DRAIN_SECONDS), Demand(3.0)))
    assert waiting == coming


ceilings = st.one_of(st.none(), st.floats(0.001, 10.0))
engines = st.builds(
    lambda acceptance, allowed, seqs, budget, kv, per_token, first_token: replace(
        ENGINE,
        estimates=text(acceptance),
        draft_tokens=allowed,
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        kv_cache_tokens=kv,
        objective=Objective(time_per_output_token_seconds=per_token, time_to_first_token_seconds=first_token),
    ),
    st.floats(0.0, 1.0),
    st.sampled_from([LADDER, (0,), (7,), (0, 3)]),
    st.sampled_from([1, 8, 256, 1024]),
    st.sampled_from([512, 8192]),
    st.sampled_from([16, 4000, 450_000]),
    ceilings,
    ceilings,
)
requests = st.builds(
    lambda prompt, computed, output: Lengths(prompt, prompt * computed, output),
    st.floats(0.0, 100_000.0),
    st.floats(0.0, 1.0),
    st.floats(0.01, 10_000.0),
)
demands = st.builds(Demand, st.floats(0.0, 1000.0), st.floats(0.0, 10_000.0))


@settings(max_examples=50)
@given(engines, requests)
def test_capacity_is_a_positive_number(engine: Capability, lengths: Lengths) -> None:
    found = known(engine, lengths)
    assert all(0.0 < rate < math.inf for rate in (found.prefill, found.decode, found.kv))


@settings(max_examples=50)
@given(engines, requests, st.sampled_from([(0,), (3,), (0, 3)]))
def test_more_draft_lengths_to_choose_from_never_take_capacity(
    engine: Capability, lengths: Lengths, fewer: tuple[int, ...]
) -> None:
    engine = replace(engine, objective=Objective())
    assert (
        known(replace(engine, draft_tokens=LADDER), lengths).requests_per_second
        >= known(replace(engine, draft_tokens=fewer), lengths).requests_per_second * 0.999
    )


@settings(max_examples=50)
@given(st.lists(engines, min_size=1, max_size=4), requests, demands)
def test_arrivals_and_pods_count_in_proportion(engines: list[Capability], lengths: Lengths, demand: Demand) -> None:
    """Twice the arrivals are twice the load, twice the pods half of it; and a number, whatever comes."""
    pods = [known(engine, lengths) for engine in engines]
    once = load_signal(demand, lengths, pods)
    twice = load_signal(Demand(2 * demand.requests_per_second, 2 * demand.waiting), lengths, pods)
    halved = load_signal(demand, lengths, [*pods, *pods])
    assert once is not None
    assert twice is not None
    assert halved is not None
    assert math.isfinite(once.ratio)
    assert math.isfinite(once.pod_capacity_tokens_per_second)
    assert twice.ratio == pytest.approx(2 * once.ratio)
    assert halved.ratio == pytest.approx(once.ratio / 2)
    assert halved.pod_capacity_tokens_per_second == pytest.approx(once.pod_capacity_tokens_per_second)


@settings(max_examples=50)
@given(st.lists(engines, min_size=2, max_size=4), requests, demands)
def test_the_order_of_pods_does_not_matter(engines: list[Capability], lengths: Lengths, demand: Demand) -> None:
    pods = [known(engine, lengths) for engine in engines]
    assert load_signal(demand, lengths, pods) == load_signal(demand, lengths, pods[::-1])


@settings(max_examples=50)
@given(st.lists(engines, min_size=1, max_size=3), requests, demands)
def test_the_two_forms_ask_for_the_same_pods(engines: list[Capability], lengths: Lengths, demand: Demand) -> None:
    """``Value`` on the ratio times the pods there are, and demand over the capacity of one."""
    found = load_signal(demand, lengths, [known(engine, lengths) for engine in engines])
    assert found is not None
    by_capacity = found.demand_tokens_per_second / found.pod_capacity_tokens_per_second
    assert by_capacity == pytest.approx(found.ratio * len(engines))
