"""What is claimed of speculation, by scale target: nothing that is not known, and what holds for all of its pods."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.builders import (
    KEY,
    MODEL,
    NOW,
    conditions,
    latency_model,
    pod,
    policy,
    profile,
    report,
    snapshot,
    status,
)
from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Attainable, attainable, load_signal
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.demand import Demand, DemandMemory, Lengths, RequestCounts
from turbospec.fleet.effects import EmitEvent, SetPolicyStatus, TableRange
from turbospec.fleet.load import KEPT_SECONDS, LoadSituation, capability, text_of
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.pooling import pools_of
from turbospec.fleet.profiles import FittingProfile, fitting
from turbospec.fleet.snapshot import EngineReport, PlainView, PodView
from turbospec.fleet.value import EVERY_SECONDS, forget_value, observe_value
from turbospec.fleet.worth import UnknownWorth, Value, Variant, Worth, replicas_saved, without_drafter
from turbospec.fleet.worthwhile import TargetValue, condition, summary

TARGET: LoadKey = ("team", "deployment/chat", KEY)
LENGTHS = Lengths(200.0, 200.0, 300.0)
SEEN = DemandMemory(60.0, 60.0, 100.0, 100.0, 20_000.0, 20_000.0, 100.0, 30_000.0)
PLAIN = PlainView(MODEL, 400_000, 20.0, 0.01)
MEASURED = fitting(profile(hold_out_error=0.01, plain=PLAIN))


def engine(number: int = 0, acceptance: float | None = 0.8, **changes: Any) -> EngineReport:
    values: dict[str, Any] = {
        "engine_id": f"engine-{number}",
        "acceptance": (acceptance,) * 7,
        "acceptance_samples": (500.0,) * 7,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
        "kv_cache_tokens": 400_000,
    }
    return report(**(values | changes))


def pods(*reports: EngineReport, ready: bool = True) -> list[PodView]:
    return [pod(f"chat-{number}", report=each, ready=ready) for number, each in enumerate(reports)]


def situation(members: Sequence[PodView], found: FittingProfile = MEASURED, now: float = NOW) -> LoadSituation:
    governing = policy(objective=Objective(0.010, 90))
    pools = pools_of(governing, members, {}, now)
    targets = {each.uid: "deployment/chat" for each in members}
    return LoadSituation(governing, members, targets, {("team", KEY): found}, pools, now)


def value(
    members: Sequence[PodView],
    found: FittingProfile = MEASURED,
    *,
    seen: DemandMemory = SEEN,
    known: Value | None = None,
    now: float = NOW,
) -> Value:
    memory = {} if known is None else {TARGET: known}
    return observe_value(situation(members, found, now), {TARGET: LoadMemory(now, demand=seen)}, memory)[TARGET]


def claimed(members: Sequence[PodView], found: FittingProfile = MEASURED) -> Worth:
    worth = value(members, found).worth
    assert worth is not None
    return worth


def faster(speedup: float, **changes: Any) -> FittingProfile:
    """A profile whose engine without the drafter is so much faster at K = 0."""
    return replace(MEASURED, plain=replace(PLAIN, latency=latency_model(1.0 / speedup), **changes))


@pytest.mark.parametrize(
    ("members", "found", "seen", "reason"),
    [
        (pods(engine()), replace(MEASURED, plain=None), SEEN, UnknownWorth.NOT_MEASURED),
        (pods(engine()), replace(MEASURED, plain=None, plain_invalid="nonsense"), SEEN, UnknownWorth.REFUSED),
        (pods(engine()), replace(MEASURED, hold_out_error=None), SEEN, UnknownWorth.ERROR_UNKNOWN),
        (pods(engine()), faster(1.0, hold_out_error=None), SEEN, UnknownWorth.ERROR_UNKNOWN),
        (pods(engine()), faster(1.0, hold_out_error=0.5), SEEN, UnknownWorth.ERROR_UNKNOWN),
        (pods(engine()), MEASURED, DemandMemory(), UnknownWorth.PENDING),
        (pods(engine(), ready=False), MEASURED, SEEN, UnknownWorth.PENDING),
        (pods(engine(acceptance=None)), MEASURED, SEEN, UnknownWorth.PENDING),
    ],
    ids=[
        "no plain engine",
        "a refused one",
        "no error",
        "no error of the plain one",
        "an error beyond all",
        "no requests",
        "no pod is Ready",
        "no drafts",
    ],
)
def test_nothing_is_claimed_of_what_is_not_known(
    members: Sequence[PodView], found: FittingProfile, seen: DemandMemory, reason: UnknownWorth
) -> None:
    said = value(members, found, seen=seen)
    assert (said.worth, said.unknown) == (None, reason)
    assert said.why
    stands = condition([TargetValue(TARGET, said)])
    assert stands is not None
    assert (stands.status, stands.reason) == ("Unknown", reason)


def test_without_a_profile_there_is_no_word() -> None:
    unprofiled = situation(pods(engine()), FittingProfile("profile-x", None, "", "refused"))
    assert observe_value(unprofiled, {}, {}) == {}
    assert condition([]) is None


@settings(max_examples=30)
@given(
    st.floats(0.05, 0.95),
    st.floats(0.7, 1.6),
    st.integers(20_000, 500_000),
    st.sampled_from([(0,), (0, 1), (0, 1, 3, 7)]),
)
def test_a_claim_agrees_with_what_both_engines_can_do(
    acceptance: float, speedup: float, kv_cache_tokens: int, allowed: tuple[int, ...]
) -> None:
    """At the policy's own percentile the share saved lies within the claim; whoever is recommended can do more."""
    found, members = faster(speedup, kv_cache_tokens=kv_cache_tokens), pods(engine(0, acceptance))
    at = situation(members, found)
    at = replace(at, policy=replace(at.policy, draft_tokens=allowed))
    claim = observe_value(at, {TARGET: LoadMemory(NOW, demand=SEEN)}, {})[TARGET].worth
    reports = [each.report for each in members if each.report is not None]
    able = capability(at.policy, reports[0], found, text_of(at, TARGET, reports))
    assert claim is not None
    assert able is not None
    assert found.plain is not None
    with_drafts, without = (_rate(attainable(each, LENGTHS)) for each in (able, without_drafter(able, found.plain)))
    assert claim.low <= 1.0 - without / with_drafts <= claim.high
    if claim.recommended is not Variant.EITHER:
        assert (claim.recommended is Variant.SPECULATIVE) is (with_drafts > without)
    assert (claim.recommended is Variant.EITHER) is (claim.low <= 0.0 <= claim.high)


def _rate(found: Attainable | None) -> float:
    assert found is not None
    return found.requests_per_second


def test_a_profile_of_another_engine_claims_less() -> None:
    assert MEASURED.latency is not None
    known = claimed(pods(engine()))
    reused = claimed(pods(engine()), replace(MEASURED, latency=replace(MEASURED.latency, doubt=0.1), stands_in=True))
    assert reused.low < known.low
    assert reused.high > known.high


def test_pods_of_several_kinds_are_claimed_together_in_any_order() -> None:
    """One that nobody steers keeps to its table; the claim is wide enough for both."""
    stuck = engine(1, unsupported_code="Old", table=(TableRange(1, 65536, 7),))
    one, other = claimed(pods(engine())), claimed(pods(stuck))
    both = claimed(pods(engine(), stuck))
    assert both == Worth(min(one.low, other.low), max(one.high, other.high))
    assert claimed(list(reversed(pods(engine(), stuck)))) == both


def test_pods_that_differ_by_some_blocks_of_cache_are_of_one_kind() -> None:
    """The smallest stands for them."""
    many = [engine(number, kv_cache_tokens=4_000 + 160 * number) for number in range(5)]
    assert claimed(pods(*many)) == claimed(pods(many[0])) == claimed(pods(*reversed(many)))
    assert claimed(pods(many[4])) != claimed(pods(many[0]))


def test_the_cache_that_the_drafter_takes_counts() -> None:
    """Where cache is what runs out."""
    small = pods(engine(kv_cache_tokens=4_000))
    assert (
        claimed(small, faster(1.0, kv_cache_tokens=8_000)).high < claimed(small, faster(1.0, kv_cache_tokens=4_000)).low
    )


def test_it_is_worked_out_once_a_minute() -> None:
    known = value(pods(engine()))
    for seconds, fresh in ((EVERY_SECONDS - 1.0, False), (EVERY_SECONDS, True), (-EVERY_SECONDS, True)):
        found = value(pods(engine(0, 0.3)), known=known, now=NOW + seconds)
        assert (found != known) is fresh


@pytest.mark.parametrize("lacking", [{"members": pods(engine(), ready=False)}, {"seen": DemandMemory()}])
def test_what_was_known_stays_while_pods_or_requests_lack(lacking: dict[str, Any]) -> None:
    """For an hour, as lengths do; another profile, or a refused one, is news."""
    known = value(pods(engine()))
    arguments = {"members": pods(engine())} | lacking
    assert value(**arguments, known=known, now=NOW + KEPT_SECONDS - 1.0) == known
    assert value(**arguments, known=known, now=NOW + KEPT_SECONDS).unknown is UnknownWorth.PENDING
    assert value(**arguments, known=known, now=NOW + 70.0, found=replace(MEASURED, name="other")).worth is None
    refused = replace(MEASURED, plain=None, plain_invalid="nonsense")
    assert value(**arguments, known=known, now=NOW + 70.0, found=refused).unknown is UnknownWorth.REFUSED
    assert forget_value({TARGET: known}, NOW + KEPT_SECONDS - 1.0) == {TARGET: known}
    assert forget_value({TARGET: known}, NOW + KEPT_SECONDS) == {}


def test_a_lost_answer_is_no_news() -> None:
    known = value(pods(engine()))
    silent = [pod("chat-0", report=None, unreachable="no answer")]
    for seconds, kept in ((2.0, {TARGET: known}), (KEPT_SECONDS, {})):
        assert observe_value(situation(silent, now=NOW + seconds), {}, {TARGET: known}) == kept
    gone = pod("other-0", report=None, labels=(("app", "other"),))
    elsewhere = replace(situation([gone]), targets={gone.uid: "deployment/other"})
    assert observe_value(elsewhere, {}, {TARGET: known}) == {}


@pytest.mark.parametrize(("share", "more"), [(0.5, 10.0), (0.0, 0.0), (-1.0, -5.0)])
def test_saved_pods_are_those_that_a_plain_fleet_would_have_more(share: float, more: float) -> None:
    """Ten pods at full load with the drafter."""
    signal = load_signal(Demand(10.0), LENGTHS, [Attainable(1.0, 1.0, 1.0)] * 4)
    assert signal is not None
    assert replicas_saved(Worth(share, share), signal) == pytest.approx((more, more))


SURE, LOSS, EITHER = Worth(0.093, 0.231), Worth(-0.46, -0.28), Worth(-0.02, 0.065)


def standing(worth: Worth | None, target: str = "chat", unknown: UnknownWorth | None = None) -> TargetValue:
    load = load_signal(Demand(10.0), LENGTHS, [Attainable(1.0, 1.0, 1.0)])
    return TargetValue(("team", f"deployment/{target}", KEY), Value(NOW, "profile-x", worth, unknown, "why"), load)


@pytest.mark.parametrize(
    ("values", "status", "reason", "said"),
    [
        ([standing(SURE)], "True", "SavesReplicas", "deployment/chat: speculation saves 9% to 24% of the replicas"),
        (
            [standing(LOSS)],
            "False",
            "PlainIsBetter",
            "take 21% to 32% fewer replicas (now 2.2 to 3.2 of 10.0 at full load). Start these pods without",
        ),
        ([standing(EITHER)], "Unknown", "WorthUnclear", "saves -2% to 7%"),
        ([standing(SURE), standing(LOSS, "b")], "False", "PlainIsBetter", "deployment/b: without the drafter"),
        ([standing(SURE), standing(EITHER, "b")], "Unknown", "WorthUnclear", "(1 more in status.scaleTargets)"),
        (
            [standing(SURE), standing(None, "b", UnknownWorth.REFUSED)],
            "Unknown",
            "PlainRefused",
            "deployment/b, profile profile-x: why.",
        ),
        ([standing(LOSS, str(n)) for n in range(5)], "False", "PlainIsBetter", "(2 more in status.scaleTargets)"),
    ],
)
def test_the_condition_says_what_waits_for_a_person_first(
    values: list[TargetValue], status: str, reason: str, said: str
) -> None:
    found = condition(values)
    assert found is not None
    assert (found.status, found.reason) == (status, reason)
    assert said in found.message
    assert "\n" not in found.message


@given(st.floats(-3.0, 0.9), st.floats(0.0, 1.0))
def test_false_is_never_said_of_what_may_save(low: float, width: float) -> None:
    worth = Worth(low, min(0.99, low + width))
    found = condition([standing(worth)])
    assert found is not None
    assert (found.status == "False") is (worth.high < 0.0)
    assert (found.status == "True") is (worth.low > 0.0)
    row = summary(standing(worth))
    assert row.saved_percent is not None
    assert row.saved_percent[0] <= 100.0 * worth.low <= 100.0 * worth.high <= row.saved_percent[1]


def test_a_fleet_is_told_in_its_status_and_once_in_an_event() -> None:
    """From requests that come and end, over rounds of the loop."""
    memory, said = FleetMemory(), list[EmitEvent]()
    for number in range(40):
        count = 4 * number
        counts = RequestCounts(count, count, 200 * count, 200 * count, count, 300 * count)
        shown = snapshot(
            now_seconds=NOW + 2.0 * number,
            policies=(policy(objective=Objective(0.010, 90)),),
            pods=tuple(pods(engine(0, 0.3, requests=counts))),
            profiles=(profile(hold_out_error=0.01, plain=replace(PLAIN, latency=latency_model(1.0 / 1.3))),),
        )
        effects, memory = decide(shown, memory)
        said += [each for each in effects if isinstance(each, EmitEvent)]
        statuses = [each for each in effects if isinstance(each, SetPolicyStatus)]
        if statuses:
            last = statuses[-1]
    assert memory.values[TARGET].worth is not None
    (row,) = last.targets
    assert (row.target, row.profile_key, row.recommended) == ("deployment/chat", KEY, "Plain")
    assert row.saved_percent is not None
    assert row.saved_percent[1] < 0
    stands = conditions([last])["Worthwhile"]
    assert (stands.status, stands.reason) == ("False", "PlainIsBetter")
    assert [(each.type, each.reason) for each in said if "Worth" in each.reason or "Plain" in each.reason] == [
        ("Normal", "WorthPending"),
        ("Warning", "PlainIsBetter"),
    ]


def test_what_is_known_of_another_policys_pods_is_not_said_of_these() -> None:
    """Two policies over pods of one scale target: one's engine answers, the other's pod is silent."""
    label = (("app", "other"),)
    other = policy("other", match_labels=label)
    views = (*pods(engine()), pod("silent", labels=label, report=None))
    observed = snapshot(policies=(policy(), other), pods=views, profiles=(profile(),))
    effects, memory = decide(observed, FleetMemory())
    assert status(effects).targets
    assert not status(effects, "other").targets
    assert decide(observed, memory)[0] == ()
