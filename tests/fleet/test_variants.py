"""Plain pods of a policy: what is decided and said of them, what they count for, and what is not done for them."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import (
    KEY,
    LADDER,
    MODEL,
    NOW,
    conditions,
    jobs,
    latency_model,
    pod,
    policy,
    profile,
    snapshot,
    status,
)
from tests.fleet.scaling_builders import hpa
from tests.fleet.test_load import LENGTHS, ROUND, engine
from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet.capacity import Capability, attainable
from turbospec.fleet.conditions import PolicyFindings
from turbospec.fleet.conditions import conditions as judged
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import EmitEvent, TableRange, VariantRow
from turbospec.fleet.load_memory import LoadKey
from turbospec.fleet.scaling import belongs
from turbospec.fleet.snapshot import EngineIdentity, Mode, PlainView, PodView, StartupVariant
from turbospec.fleet.standing import EngineStanding, obstacle
from turbospec.fleet.startup_variant import begin
from turbospec.fleet.variants import KEPT_SECONDS, MAX_ROWS, VariantRound, VariantSituation, decide_variants
from turbospec.fleet.worth import Worth

PLAIN_KEY = "ffffffffffffffff"
ARGUMENTS = (("async_scheduling", "true"), ("dtype", "bf16"), ("max_draft_tokens", "7"))
MEASURED = EngineIdentity("gpu / H100", "llama", "eagle", "eagle3", ARGUMENTS, "0.32.0")
BESIDE = replace(
    MEASURED,
    drafter="none",
    method="none",
    engine_arguments=(("async_scheduling", "false"), ("dtype", "bf16"), ("max_draft_tokens", "0")),
)
PLAIN_MODEL = latency_model(0.8)
PROFILE = profile(identity=MEASURED, plain=PlainView(PLAIN_MODEL, 500_000, 30.0, 0.02))
AUTO, PLAIN, SPECULATIVE = (policy(startup_variant=each) for each in (
    StartupVariant.AUTO, StartupVariant.PLAIN, StartupVariant.SPECULATIVE))  # fmt: skip
PLACE = "policy-chat", "deployment/chat"
LOSES, SAVES, EITHER = Worth(-0.2, -0.1), Worth(0.1, 0.2), Worth(-0.1, 0.1)


def plain_pod(number: int = 0, seconds: float = 0.0, *, variant: str | None = "Plain", **changes: Any) -> PodView:
    """A pod without a drafter."""
    said = engine(
        number,
        seconds,
        profile_key=PLAIN_KEY,
        identity=changes.pop("identity", BESIDE),
        unsupported_code="NoSpeculation",
        unsupported_message="started without --speculative-config",
        engine_draft_tokens=(0,),
        acceptance=(),
        acceptance_samples=(),
        kv_cache_tokens=500_000,
        table=(TableRange(1, 256, 0),),
    )
    return pod(f"chat-{number}", report=said, variant=variant, **changes)


def drafting_pod(number: int = 9, seconds: float = 0.0) -> PodView:
    said = engine(number, seconds, identity=MEASURED, applied_id="local-0")
    return pod(f"chat-{number}", report=said, created_seconds=NOW - 60.0)


def settled(pods: int, plain: int, *, seconds: float = 60.0, wanted: Any = AUTO, **changes: Any) -> Any:
    """Status and memory after a minute of such a fleet."""
    memory, found = FleetMemory(), None
    for number in range(int(seconds / ROUND) + 1):
        now = number * ROUND
        views = [plain_pod(i, now, **changes) if i < plain else drafting_pod(i, now) for i in range(pods)]
        shown = snapshot(now_seconds=NOW + now, pods=tuple(views), profiles=(PROFILE,), policies=(wanted,))
        effects, memory = decide(shown, memory)
        assert not [each for each in jobs(effects) if each.key == PLAIN_KEY], "nothing is to be measured for it"
        found = memory.policies[wanted.uid].status
    return found, memory


@pytest.mark.parametrize(
    ("counts", "wanted", "ready", "message"),
    [
        (
            (2, 3, 0),
            AUTO,
            "AllEnginesControlled",
            "3/3 engines controlled. 2 of 5 pods were started plain, as the policy",
        ),
        ((2, 3, 0), PLAIN, "AllEnginesControlled", "3/3 engines controlled. 2 of 5 pods were started plain"),
        ((5, 0, 0), AUTO, "StartedPlain", "5 of 5 pods were started plain"),
        ((5, 0, 1), AUTO, "StartedPlain", "5 of 5 pods were started plain"),
        ((2, 3, 0), SPECULATIVE, None, "3/5 engines controlled. chat-0, chat-1: it was started without the drafter"),
    ],
    ids=["some", "some of Plain's", "all", "beside a scout that starts", "no more wanted"],
)
def test_plain_pods_that_the_policy_wants_are_no_failure(
    counts: tuple[int, int, int], wanted: Any, ready: str | None, message: str
) -> None:
    """Ready and Controlled count them, and find nothing wrong with them: plain, drafting and starting pods."""
    plain, drafting, starting = counts
    pods = [plain_pod(i) for i in range(plain)]
    stands = [
        *(obstacle(wanted, each, None, None, NOW) for each in pods),
        *(EngineStanding(drafting_pod(9 - i), True, "Controlled", "") for i in range(drafting)),
        *(EngineStanding(replace(drafting_pod(), ready=False), False, "EngineStarting", "") for _ in range(starting)),
    ]
    said = {each.type: each for each in judged(PolicyFindings(wanted, tuple(stands), (), (), ()))}
    assert (said["Ready"].status, said["Controlled"].status) == (("True",) * 2 if ready else ("False",) * 2)
    assert said["Ready"].reason == (ready or "StartedPlain")
    assert said["Controlled"].message.startswith(message)


def test_plain_pods_that_were_wanted_once_are_to_be_started_anew() -> None:
    found, _ = settled(5, 2, wanted=SPECULATIVE, seconds=8.0)
    said = {each.type: each for each in found.conditions}["Controlled"]
    assert said.status == "False"
    assert "kubectl rollout restart deployment/chat -n team" in " ".join(row.message for row in found.engines)


def test_an_engine_that_nobody_wanted_plain_is_unsupported_as_ever() -> None:
    found, _ = settled(2, 2, wanted=SPECULATIVE, seconds=4.0, variant=None)
    assert {row.reason for row in found.engines} == {"EngineUnsupported"}


def test_their_load_is_what_plain_engines_can_do() -> None:
    """By the profile of the same hardware and model, with their own KV cache; the demand on them counts."""
    _, memory = settled(5, 2)
    found, other = (memory.loads["team", "deployment/chat", key] for key in (PLAIN_KEY, KEY))
    assert found.signal is not None, found.unknown
    assert other.signal is not None, other.unknown
    able = Capability(PLAIN_MODEL, (), (0,), 256, 8192, 500_000)
    one = attainable(able, LENGTHS)
    estimates = (PositionEstimate(0.7, None, 500.0),) * 7
    drafting = attainable(Capability(MODEL, estimates, LADDER, 256, 8192, 450_000), LENGTHS)
    assert one is not None
    assert drafting is not None
    assert found.signal.pod_capacity_tokens_per_second == pytest.approx(100.0 * one.requests_per_second, rel=0.01)
    assert found.signal.demand_tokens_per_second == pytest.approx(2 * 200.0, rel=0.02)
    pods = found.signal.expected_pods + other.signal.expected_pods
    assert pods == pytest.approx(4.0 / one.requests_per_second + 6.0 / drafting.requests_per_second, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, True),
        ({"engine_version": "0.32.1"}, True),
        ({"hardware": "gpu / A100"}, False),
        ({"target": "mistral"}, False),
        ({"engine_arguments": (("dtype", "fp8"),)}, False),
    ],
    ids=["the same", "another patch release", "another GPU", "another model", "another dtype"],
)
def test_only_a_profile_of_the_same_engine_tells(changes: dict[str, Any], *, known: bool) -> None:
    _, memory = settled(2, 2, identity=replace(BESIDE, **changes))
    assert (memory.loads["team", "deployment/chat", PLAIN_KEY].signal is not None) is known


def decided(
    worths: dict[LoadKey, Worth | None] | None = None,
    *pods: PodView,
    memory: Any = None,
    wanted: Any = AUTO,
    now: float = NOW,
) -> VariantRound:
    views = pods or (drafting_pod(0),)
    situation = VariantSituation(wanted, views, {each.uid: PLACE[1] for each in views}, {}, worths or {}, now)
    return decide_variants(situation, memory or {})


KEY_1, KEY_2 = ("team", "deployment/chat", KEY), ("team", "deployment/chat", PLAIN_KEY)
DUE = {PLACE: replace(begin(NOW - 30.0, plain=False), lives=1, mean_life_seconds=1200.0, recommended_seconds=599.0)}


@pytest.mark.parametrize(
    ("worths", "plain", "reason"),
    [
        ({KEY_1: LOSES}, True, "Recommended"),
        ({KEY_1: LOSES, KEY_2: LOSES}, True, "Recommended"),
        ({KEY_1: LOSES, KEY_2: SAVES}, False, "Kept"),
        ({KEY_1: LOSES, KEY_2: None}, False, "WorthUnknown"),
        ({KEY_1: EITHER}, False, "Kept"),
        ({KEY_1: SAVES}, False, "Recommended"),
        ({KEY_1: None}, False, "WorthUnknown"),
        ({("team", "deployment/other", KEY): LOSES}, False, "WorthUnknown"),
    ],
    ids=["loses", "on both", "on one", "one unknown", "either", "saves", "unknown", "of another target"],
)
def test_what_holds_on_all_hardware_is_in_force(
    worths: dict[LoadKey, Worth | None], reason: str, *, plain: bool
) -> None:
    """Nobody knows which node a new pod gets. A change is an event, once."""
    found = decided(worths, memory=DUE)
    (row,) = found.rows
    assert (row.plain, row.reason) == (plain, reason)
    assert [event.reason for event in found.events] == (["StartsPlain"] if plain else [])
    assert not decided(worths, memory=found.memory, now=NOW + 2.0).events


def test_back_to_the_drafter_is_an_event_too() -> None:
    found = decided({KEY_1: SAVES}, memory={PLACE: replace(DUE[PLACE], plain=True)})
    assert [(event.type, event.reason) for event in found.events] == [("Normal", "StartsSpeculative")]


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.ADVISE])
def test_a_policy_that_does_nothing_changes_nothing(mode: Mode) -> None:
    assert not decided({KEY_1: LOSES}, memory=DUE, wanted=replace(AUTO, mode=mode)).rows[0].plain


def test_pods_whose_template_decides_leave_it_as_it_is_and_say_so() -> None:
    """By the newest pod: one that was made since the template was corrected."""
    refused = replace(drafting_pod(0), variant="Refused", speculation="added; it does not act", created_seconds=NOW - 9)
    corrected = replace(drafting_pod(1), variant="Speculative", created_seconds=NOW - 5)
    (row,) = decided({KEY_1: LOSES}, refused, memory=DUE).rows
    assert (row.plain, row.reason) == (False, "VariantRefused")
    assert row.message.startswith("added; it does not act.")
    assert decided({KEY_1: LOSES}, refused, corrected, memory=DUE).rows[0].plain


def test_after_a_restart_what_the_status_says_is_in_force() -> None:
    """Also for a target that has no pods at the moment, for a day; a policy that was Plain goes on from there."""
    told = VariantRow("deployment/chat", plain=True, reason="Recommended", since_seconds=NOW - 500.0, selector="app=x")
    idle = replace(told, target="deployment/idle")
    found = decided({KEY_1: None}, wanted=replace(AUTO, variants=(told, idle)))
    assert [(row.target, row.plain, row.since_seconds) for row in found.rows] == [
        ("deployment/chat", True, NOW - 500.0),
        ("deployment/idle", True, NOW - 500.0),
    ]
    assert found.rows[1].selector == "app=x"
    assert not found.events
    later = decided(memory=found.memory, now=NOW + KEPT_SECONDS)
    assert [row.target for row in later.rows] == ["deployment/chat"]


def test_a_row_names_the_selector_by_which_the_webhook_finds_its_pods() -> None:
    """That of the scale target, where an autoscaler knows it."""
    views, scaler = (drafting_pod(0),), hpa(target="leaderworkerset/chat", selector="app=chat")
    effects, _ = decide(snapshot(policies=(AUTO,), pods=views, autoscalers=(scaler,)), FleetMemory())
    (row,) = status(effects).variants
    assert (row.target, row.selector) == ("leaderworkerset/chat", "app=chat")
    assert belongs(views[0], row.target, row.selector)
    assert not belongs(replace(views[0], labels=(("app", "other"),)), row.target, row.selector)


def test_rows_are_bounded_and_count_pods_by_what_they_are() -> None:
    many = [replace(drafting_pod(i), uid=f"u{i}") for i in range(MAX_ROWS + 5)]
    names = {each.uid: f"deployment/{each.name}" for each in many}
    assert len(decide_variants(VariantSituation(AUTO, many, names, {}, {}, NOW), {}).rows) == MAX_ROWS
    silent = replace(plain_pod(3), report=None)
    unknown = replace(drafting_pod(4), report=None)
    (row,) = decided(None, drafting_pod(0), plain_pod(1), plain_pod(2), silent, unknown).rows
    assert (row.speculative_pods, row.plain_pods) == (1, 3)


def test_status_and_condition_say_it() -> None:
    effects, memory = decide(snapshot(policies=(AUTO,), pods=(plain_pod(0), drafting_pod(1))), FleetMemory())
    (row,) = status(effects).variants
    assert (row.target, row.plain, row.plain_pods, row.speculative_pods) == ("deployment/chat", False, 1, 1)
    said = conditions(effects)["StartupVariantDecided"]
    assert (said.status, said.reason) == ("Unknown", "WorthUnknown")
    assert "1 of 2 pods were started plain" in said.message
    fixed, _ = decide(snapshot(policies=(PLAIN,), pods=(plain_pod(0),)), memory)
    assert conditions(fixed)["StartupVariantDecided"].reason == "VariantDecided"
    assert not [each for each in fixed if isinstance(each, EmitEvent) and each.reason == "StartsPlain"]
    assert "StartupVariantDecided" not in conditions(decide(snapshot(), FleetMemory())[0])
