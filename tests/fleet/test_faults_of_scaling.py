"""What docs/autoscaling.md says of "When something is missing or odd", row by row, through whole rounds of the loop."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.builders import (
    LADDER,
    NOW,
    conditions,
    jobs,
    latency_model,
    pod,
    policy,
    profile,
    pushes,
    report,
    snapshot,
)
from tests.fleet.scaling_builders import ABLE, hpa, metric
from tests.fleet.test_load import observed, signal
from tests.fleet.test_queried_demand import ASKING, answer
from turbospec.fleet.autoscalers import AutoscalerCondition, AutoscalerView
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import ConditionValue, Effect
from turbospec.fleet.queried import DemandReason
from turbospec.fleet.scale_events import ScaleState
from turbospec.fleet.snapshot import FleetSnapshot

PAGE = Path(__file__).parents[2] / "docs" / "autoscaling.md"
PLACE = ("team", "deployment/chat")
ITL = metric(0.02, target=0.01, name="vllm_inter_token_latency_seconds")
UNKNOWN, STEADY, COMING = ScaleState.UNKNOWN, ScaleState.STEADY, ScaleState.UP_UNDER_WAY

CASES: dict[str, Callable[[], None]] = {}


def row(beginning: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """The case for the row of the page that begins so."""

    def kept(case: Callable[[], None]) -> Callable[[], None]:
        CASES[beginning] = case
        return case

    return kept


def fleet(*scalers: AutoscalerView, **changes: Any) -> FleetSnapshot:
    said = report(acceptance=(0.8,) * 7, acceptance_samples=(200.0,) * 7)
    pods = tuple(pod(f"chat-{i}", report=replace(said, engine_id=f"e{i}")) for i in range(2))
    return replace(snapshot(pods=pods, profiles=(profile(),), autoscalers=scalers), **changes)


def decided(shown: FleetSnapshot) -> tuple[tuple[Effect, ...], tuple[ScaleState, str]]:
    effects, memory = decide(shown, FleetMemory())
    event = memory.scale_events[PLACE]
    return effects, (event.state, event.reason)


def compatible(effects: tuple[Effect, ...]) -> ConditionValue | None:
    return conditions(effects).get("ScalingCompatible")


@row("no HorizontalPodAutoscaler")
def no_autoscaler() -> None:
    effects, event = decided(fleet())
    assert event == (UNKNOWN, "NoHorizontalPodAutoscaler")
    assert compatible(effects) is None
    assert len(pushes(effects)) == 2
    assert signal(observed(60)) == signal(observed(60, fleet={"autoscalers": (hpa(),)}))


@row("two on one target")
def two_autoscalers() -> None:
    """Nobody's wish is taken for the decision; engines are steered all the same, within no bounds of anybody's."""
    wanted = policy(preserve=True)
    two = (hpa(metrics=(ITL,)), hpa("other", metrics=(ITL,), desired=9))
    effects, event = decided(fleet(*two, policies=(wanted,)))
    said = compatible(effects)
    assert event == (UNKNOWN, "SeveralAutoscalers")
    assert said is not None
    assert (said.status, said.reason) == ("Unknown", "SeveralAutoscalers")
    assert {push.allowed_draft_tokens for push in pushes(effects)} == {LADDER}


@row("a metric without a value")
def missing_metrics() -> None:
    """Unknown is no event: what nobody wants is not waited for, and what is bounded stays so."""
    for value in (None, float("nan"), -1.0):
        effects, event = decided(fleet(hpa(metrics=(metric(value),)), profiles=()))
        assert event == (UNKNOWN, "MetricMissing"), value
        assert jobs(effects)
    wanted = (policy(preserve=True),)
    known = decide(fleet(hpa(metrics=(ITL,)), policies=wanted), FleetMemory())[1]
    lost = fleet(hpa(metrics=(replace(ITL, current=None),)), policies=wanted, now_seconds=NOW + 2)
    (before,), (after,) = known.preserved.values(), decide(lost, known)[1].preserved.values()
    assert before.allowed == after.allowed
    assert before.allowed not in (None, LADDER)


@row("`minReplicas` is `maxReplicas`")
def fixed_replicas() -> None:
    """There are no pods to buy: nothing is bounded. Scaling that is off is steady too."""
    fixed = hpa(min_replicas=2, max_replicas=2, metrics=(ITL,))
    effects, event = decided(fleet(fixed, policies=(policy(preserve=True),)))
    assert event == (STEADY, "FixedReplicas")
    assert {push.allowed_draft_tokens for push in pushes(effects)} == {LADDER}
    off = hpa(conditions=(ABLE, AutoscalerCondition("ScalingActive", "False", "ScalingDisabled")))
    assert decided(fleet(off))[1] == (STEADY, "ScalingDisabled")


@row("to zero and back")
def to_zero_and_back() -> None:
    scaler = hpa(min_replicas=0)
    memory = observed(60, fleet={"autoscalers": (scaler,)})
    gone = snapshot(pods=(), autoscalers=(scaler,), profiles=(profile(),), now_seconds=NOW + 62)
    effects, memory = decide(gone, memory)
    assert memory.scale_events == {}
    assert compatible(effects) is None
    assert all(entry.signal is None for entry in memory.loads.values())
    first = pod("chat-9", ready=False, created_seconds=NOW + 1200)
    effects, memory = decide(replace(gone, pods=(first,), now_seconds=NOW + 1202), memory)
    assert memory.scale_events[PLACE].state is COMING
    (document,) = pushes(effects)
    assert document.prior, "what the pods before had learnt waits for the first one"


@row("the target is deleted")
def target_deleted() -> None:
    """The status that the controller leaves, and no scale to read a selector from."""
    gone = hpa(selector=None, conditions=(AutoscalerCondition("AbleToScale", "False", "FailedGetScale"),))
    effects, event = decided(fleet(gone))
    assert event == (UNKNOWN, "FailedGetScale")
    assert len(pushes(effects)) == 2
    other = decide(fleet(replace(gone, target="deployment/other")), FleetMemory())[1]
    assert other.scale_events[PLACE].reason == "NoHorizontalPodAutoscaler"


@row("Prometheus is down")
def no_prometheus() -> None:
    own = signal(observed(60))
    for reason in (DemandReason.UNREACHABLE, DemandReason.SLOW, DemandReason.NOT_A_RATE, DemandReason.NO_SERIES):
        useless = answer(None, NOW, reason=reason)
        effects, _ = decided(fleet(policies=(ASKING,), queried=(useless,)))
        said = conditions(effects)["DemandKnown"]
        assert (said.status, said.reason) == ("False", reason)
        asked = observed(60, fleet={"policies": (ASKING,), "queried": (replace(useless, seconds=NOW + 60),)})
        assert signal(asked) == own


@row("clocks that are apart")
def clocks_apart() -> None:
    """The API server's an hour ahead: pods that come are seen to come, and those that serve to serve."""
    ahead = fleet(hpa())
    serving = tuple(replace(one, created_seconds=NOW + 3000, ready_since_seconds=NOW + 3500) for one in ahead.pods)
    assert decided(replace(ahead, pods=serving))[1] == (STEADY, "MetricAtTarget")
    coming = pod("chat-9", ready=False, created_seconds=NOW + 3600)
    assert decided(replace(ahead, pods=(*serving, coming)))[1] == (COMING, "PodsStarting")


@row("one policy over several owners")
def several_owners() -> None:
    """Each engine has the model of its own hardware, each target its own event; the warning is that of the worst."""
    other = "ffffffffffffffff"
    slow = latency_model(2.0)
    code = pod("code-0", owner="deployment/code", labels=(("app", "chat"), ("tier", "code")))
    code = replace(code, report=report(engine_id="code", profile_key=other))
    calm = hpa("code", target="deployment/code", selector="tier=code", metrics=(replace(ITL, current=ITL.target),))
    shown = fleet(hpa(selector="app=chat,!tier"), calm)
    shown = replace(shown, pods=(*shown.pods, code))
    effects, memory = decide(shown, FleetMemory())
    assert {job.key for job in jobs(effects)} == {other}
    busy = replace(shown, autoscalers=(shown.autoscalers[0], replace(calm, metrics=(ITL,))))
    waiting, moved = decide(busy, FleetMemory())
    assert not jobs(waiting)
    assert moved.scale_events[PLACE] == memory.scale_events[PLACE]
    assert moved.scale_events["team", "deployment/code"].state is ScaleState.UP_IMMINENT
    warned = compatible(effects)
    assert warned is not None
    assert (warned.status, "deployment/code" in warned.message) == ("False", True)
    both = (profile(), profile(name=f"profile-{other}", key=other, latency=slow))
    models = {push.engine.pod: push.latency for push in pushes(decide(replace(shown, profiles=both), FleetMemory())[0])}
    assert models == {"chat-0": profile().latency, "chat-1": profile().latency, "code-0": slow}


def documented() -> list[str]:
    """What stands in the first column."""
    section = PAGE.read_text().split("## When something is missing or odd")[1]
    return re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)[2:]


def test_each_row_of_the_page_is_a_case_and_each_case_a_row() -> None:
    rows = documented()
    assert [[name for name in CASES if entry.startswith(name)] for entry in rows] == [[name] for name in CASES]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_the_page_says_of_it_happens(case: Callable[[], None]) -> None:
    case()
