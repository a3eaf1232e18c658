"""The load signal from what engines report: the same at every K, and unknown where something is not known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import KEY, MODEL, NOW, latency_model, pod, policy, profile, report, snapshot
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Capability, LoadSignal, attainable, load_signal
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.demand import DRAIN_SECONDS, MIN_SECONDS, Demand, Lengths, RequestCounts
from turbospec.fleet.effects import TableRange
from turbospec.fleet.load import KEPT_SECONDS, LOST_SECONDS
from turbospec.fleet.load_memory import LoadMemory, UnknownLoad
from turbospec.fleet.snapshot import EngineReport, FleetSnapshot, Mode, PodView

ROUND = 2.0
TARGET = ("team", "deployment/chat", KEY)
LENGTHS = Lengths(prompt_tokens=200.0, prefill_tokens=200.0, output_tokens=100.0)
ALONE = {"table": (TableRange(1, 65536, 3),)}

Change = Callable[[PodView, int], PodView]


def engine(number: int, seconds: float, *, rate: float = 2.0, **changes: Any) -> EngineReport:
    """An engine to which ``rate`` requests came in each second, and as many ended."""
    requests = round(rate * seconds)
    values: dict[str, Any] = {
        "engine_id": f"engine-{number}",
        "acceptance": (0.7,) * 7,
        "acceptance_samples": (500.0,) * 7,
        "max_num_batched_tokens": 8192,
        "kv_cache_tokens": 450_000,
        "requests": RequestCounts(requests, requests, 200 * requests, 200 * requests, requests, 100 * requests),
        "waiting": 0,
    }
    return report(**(values | changes))


def observed(
    seconds: float,
    *,
    pods: int = 2,
    memory: FleetMemory | None = None,
    change: Change | None = None,
    fleet: dict[str, Any] | None = None,
    start: float = 0.0,
    **engines: Any,
) -> FleetMemory:
    """The memory after so many seconds of this fleet; ``change`` is made to every pod in every round."""
    memory = memory or FleetMemory()
    for number in range(int(seconds / ROUND) + 1):
        now = start + number * ROUND
        views = [pod(f"chat-{i}", report=engine(i, now, **engines)) for i in range(pods)]
        if change is not None:
            views = [change(view, i) for i, view in enumerate(views)]
        shown: FleetSnapshot = snapshot(
            now_seconds=NOW + now, pods=tuple(views), profiles=(profile(),), **(fleet or {})
        )
        memory = decide(shown, memory)[1]
    return memory


def load(memory: FleetMemory) -> LoadMemory:
    return memory.loads[TARGET]


def signal(memory: FleetMemory) -> LoadSignal:
    found = load(memory).signal
    assert found is not None, load(memory).unknown
    return found


def expected(requests_per_second: float, pods: int, waiting: float = 0.0, **changes: Any) -> LoadSignal:
    """By the formula alone."""
    able = Capability(
        latency=MODEL,
        estimates=(PositionEstimate(0.7, None, 500.0),) * 7,
        draft_tokens=(0, 1, 3, 7),
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        kv_cache_tokens=450_000,
    )
    one = attainable(replace(able, **changes), LENGTHS)
    assert one is not None
    found = load_signal(Demand(requests_per_second, waiting), LENGTHS, [one] * pods)
    assert found is not None
    return found


def near(found: LoadSignal, wanted: LoadSignal) -> bool:
    return found.ratio == pytest.approx(wanted.ratio, rel=0.01) and (
        found.pod_capacity_tokens_per_second == pytest.approx(wanted.pod_capacity_tokens_per_second, rel=0.01)
    )


def test_the_signal_is_what_comes_over_what_ready_pods_can_do() -> None:
    memory = observed(MIN_SECONDS)
    assert near(signal(memory), expected(4.0, pods=2))
    assert load(observed(MIN_SECONDS - ROUND)).unknown is UnknownLoad.STARTING
    assert signal(memory).demand_tokens_per_second == pytest.approx(400.0, rel=0.01)


@pytest.mark.parametrize("k", [0, 1, 3, 7])
def test_what_engines_do_with_the_requests_is_not_in_it(k: int) -> None:
    """Running requests, K in force, table, KV in use and the document that put it there move with K; the signal not."""
    forced = observed(60, draft_tokens=k, running=5 + 10 * k, decodes=5 + 10 * k, kv_tokens=1000 * (k + 1),
                      drafts=100 * k, applied_id=f"table-{k}", table=(TableRange(1, 65536, k),))  # fmt: skip
    assert signal(forced) == signal(observed(60))


def test_twice_the_requests_are_twice_the_load_and_twice_the_pods_half_of_it() -> None:
    once, pods = signal(observed(60)), signal(observed(60, pods=4))
    assert signal(observed(60, rate=4.0)).ratio == pytest.approx(2 * once.ratio, rel=0.01)
    assert pods.ratio == pytest.approx(once.ratio, rel=0.01)  # four pods to which as many come each
    assert pods.demand_tokens_per_second == pytest.approx(2 * once.demand_tokens_per_second, rel=0.01)


def test_requests_that_wait_count() -> None:
    assert near(signal(observed(60, waiting=30)), expected(4.0, pods=2, waiting=60))
    assert DRAIN_SECONDS == 60.0


def test_pods_that_are_not_ready_can_do_nothing_yet_and_terminating_ones_nothing_more() -> None:
    starting = observed(60, change=lambda view, i: replace(view, ready=i == 0))
    leaving = observed(60, change=lambda view, i: replace(view, terminating=i == 1))
    assert near(signal(starting), expected(4.0, pods=1))
    assert near(signal(leaving), expected(2.0, pods=1))
    assert signal(starting).demand_tokens_per_second == pytest.approx(400.0, rel=0.01)
    assert signal(leaving).demand_tokens_per_second == pytest.approx(200.0, rel=0.01)


def test_a_few_silent_pods_are_like_the_others_and_many_are_unknown() -> None:
    def silent(count: int) -> Change:
        return lambda view, i: replace(view, report=None, unreachable="no answer") if i < count else view

    whole = signal(observed(60, pods=4))
    for count in (1, 2):
        found = observed(60, pods=4, change=silent(count))
        assert near(signal(found), whole)
        assert load(found).silent == count
        assert signal(found).demand_tokens_per_second == pytest.approx(whole.demand_tokens_per_second, rel=0.01)
    assert load(observed(60, pods=4, change=silent(3))).unknown is UnknownLoad.NOT_REPORTED


@pytest.mark.parametrize(
    ("reason", "engines", "fleet"),
    [
        (UnknownLoad.NOT_REPORTED, {"requests": None}, {}),
        (UnknownLoad.NO_PROFILE, {}, {"profiles": ()}),
        (UnknownLoad.NO_ACCEPTANCE, {"acceptance": (None,) * 7}, {}),
        (UnknownLoad.TOO_FEW_REQUESTS, {"rate": 0.02}, {}),
        (UnknownLoad.NOT_REPORTED, {}, {"policies": (policy(mode=Mode.ADVISE),)}),
    ],
)
def test_what_is_not_known_is_not_guessed(reason: UnknownLoad, engines: dict[str, Any], fleet: dict[str, Any]) -> None:
    """The last: nobody steers the engine, and it does not say what its table is."""
    memory = FleetMemory()
    for number in range(40):
        now = number * ROUND
        views = tuple(pod(f"chat-{i}", report=engine(i, now, **engines)) for i in range(2))
        shown = snapshot(**({"now_seconds": NOW + now, "pods": views, "profiles": (profile(),)} | fleet))
        memory = decide(shown, memory)[1]
    assert load(memory).unknown is reason
    assert load(memory).signal is None


@pytest.mark.parametrize(
    ("what", "engines", "fleet", "capability"),
    [
        ("bounds", {}, {"policies": (policy(draft_tokens=(0,)),)}, {"draft_tokens": (0,)}),
        ("pinned", {}, {"policies": (policy(draft_tokens=(7,)),)}, {"draft_tokens": (7,)}),
        ("graphs", {"engine_draft_tokens": (0, 1)}, {}, {"draft_tokens": (0, 1)}),
        ("objective", {}, {"policies": (policy(objective=Objective(0.012)),)}, {"objective": Objective(0.012)}),
        ("advised", ALONE, {"policies": (policy(mode=Mode.ADVISE),)}, {"draft_tokens": (3,)}),
        ("refused", {**ALONE, "unsupported_code": "DataParallel"}, {}, {"draft_tokens": (3,)}),
        ("paused, once started", {**ALONE, "applied_id": "local-0"}, {"policies": (policy(mode=Mode.PAUSED),)}, {}),
    ],
)
def test_pods_are_measured_by_what_they_may_run(
    what: str, engines: dict[str, Any], fleet: dict[str, Any], capability: dict[str, Any]
) -> None:
    assert near(signal(observed(60, fleet=fleet, **engines)), expected(4.0, pods=2, **capability)), what


def test_an_engine_that_restarts_brings_no_requests_of_its_own() -> None:
    """It counts from nought again, which are neither new requests nor fewer."""
    memory = observed(60)
    again = observed(20, memory=memory, start=1.0, change=restarted)
    assert signal(again).demand_tokens_per_second <= signal(memory).demand_tokens_per_second


def restarted(view: PodView, number: int) -> PodView:
    assert view.report is not None
    return replace(view, report=replace(view.report, engine_id=f"again-{number}"))


def test_after_a_pause_of_the_operator_the_rate_is_unknown_and_lengths_are_not() -> None:
    """What came in the meantime came at times that nobody knows."""
    memory = observed(60)
    paused = observed(MIN_SECONDS - ROUND, memory=memory, start=60 + LOST_SECONDS + ROUND)
    assert load(paused).unknown is UnknownLoad.STARTING
    assert near(signal(observed(2 * MIN_SECONDS, memory=paused, start=200.0)), expected(4.0, pods=2))


def test_a_target_scaled_to_zero_has_no_load_and_is_remembered_for_a_while() -> None:
    memory = observed(60)
    empty = decide(snapshot(now_seconds=NOW + 62, pods=(), profiles=(profile(),)), memory)[1]
    assert (load(empty).signal, load(empty).unknown) == (None, UnknownLoad.NO_READY_POD)
    later = decide(snapshot(now_seconds=NOW + 70 + KEPT_SECONDS, pods=(), profiles=(profile(),)), empty)[1]
    assert later.loads == {}


def test_pods_that_are_back_from_zero_know_how_long_requests_are() -> None:
    """Rates begin anew, lengths are the same text's: the load is known half a minute after the first pod is Ready."""
    empty = decide(snapshot(now_seconds=NOW + 62, pods=(), profiles=(profile(),)), observed(60))[1]
    back = observed(MIN_SECONDS + ROUND, memory=empty, start=600.0, change=restarted)
    assert near(signal(back), expected(4.0, pods=2))
    assert load(observed(MIN_SECONDS - ROUND, memory=empty, start=600.0, change=restarted)).unknown is (
        UnknownLoad.STARTING
    )


@pytest.mark.parametrize("jump", [-86_400.0, -3600.0, -10.0, 3600.0, 86_400.0])
def test_a_clock_that_is_set_costs_half_a_minute_at_most(jump: float) -> None:
    """The operator's own, forwards and backwards; what engines count knows no clock."""
    memory = observed(60)
    after = observed(2 * MIN_SECONDS, memory=memory, start=60.0 + jump, change=restarted)
    assert near(signal(after), expected(4.0, pods=2))


@pytest.mark.parametrize("skew", [-7200.0, -30.0, 30.0, 7200.0])
def test_pods_whose_times_are_of_another_clock_count_like_others(skew: float) -> None:
    """The API server's clock against the operator's: a pod that seems to be Ready only in an hour is Ready."""

    def shifted(view: PodView, _: int) -> PodView:
        return replace(view, created_seconds=NOW - 1000 + skew, ready_since_seconds=NOW - 800 + skew)

    def unshifted(view: PodView, _: int) -> PodView:
        return replace(view, created_seconds=NOW - 1000, ready_since_seconds=NOW - 800)

    assert signal(observed(60, change=shifted)) == signal(observed(60, change=unshifted))


def test_hardware_of_two_kinds_has_two_signals() -> None:
    """One target on two kinds of GPU: each key is told what its own pods can do."""
    other = "ffffffffffffffff"

    def second_half(view: PodView, number: int) -> PodView:
        assert view.report is not None
        return replace(view, report=replace(view.report, profile_key=other)) if number else view

    slow = profile(name=f"profile-{other}", key=other, latency=latency_model(2.0))
    memory = FleetMemory()
    for number in range(31):
        views = tuple(second_half(pod(f"chat-{i}", report=engine(i, number * ROUND)), i) for i in range(2))
        shown = snapshot(now_seconds=NOW + number * ROUND, pods=views, profiles=(profile(), slow))
        memory = decide(shown, memory)[1]
    fast_load, slow_load = memory.loads[TARGET].signal, memory.loads[*TARGET[:2], other].signal
    assert fast_load is not None
    assert slow_load is not None
    assert slow_load.ratio == pytest.approx(2 * fast_load.ratio, rel=0.01)


@pytest.mark.parametrize(("start", "grows"), [(200.0, 1.223), (20.0, 1.091), (None, 1.076)])
def test_what_is_expected_is_the_load_of_when_a_new_pod_would_be_ready(start: float | None, grows: float) -> None:
    """Arrivals grow from 2 to 2.8 per second and pod; the ratio of now lags behind, the expected one is ahead."""
    memory = FleetMemory()
    for number in range(201):
        now = number * ROUND
        rate = 2.0 + 0.001 * now  # mean since the start; 2.8 at the end
        views = [pod(f"chat-{i}", report=engine(i, now, rate=rate)) for i in range(2)]
        if start is not None:
            views = [replace(v, created_seconds=NOW - 900, ready_since_seconds=NOW - 900 + start) for v in views]
        shown = snapshot(now_seconds=NOW + now, pods=tuple(views), profiles=(profile(),))
        memory = decide(shown, memory)[1]
    found = signal(memory)
    assert found.expected_ratio / found.ratio == pytest.approx(grows, rel=0.02)
    assert found.expected_tokens_per_second / found.demand_tokens_per_second == pytest.approx(grows, rel=0.02)
