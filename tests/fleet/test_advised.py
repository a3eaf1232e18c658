"""What advice makes of a policy's status; and that a policy that asks for advice changes no engine."""

from dataclasses import replace

import pytest

from tests.fleet.builders import NOW, conditions, pod, policy, profile, pushes, report, snapshot, status
from turbospec.fleet.advised import AdviceReason, AdviceView
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import Effect, EmitEvent, PushControl
from turbospec.fleet.snapshot import FleetSnapshot, Mode


def advice(reason: AdviceReason = AdviceReason.GAIN, summary: str = "+7% to +20%") -> AdviceView:
    return AdviceView("team", "chat", reason, summary, f"llama-8b: {summary}.")


def asking(*advised: AdviceView, mode: Mode = Mode.ADVISE) -> FleetSnapshot:
    return snapshot(policies=(policy(mode=mode),), profiles=(profile(),), advice=advised)


def said(effects: tuple[Effect, ...]) -> dict[str, EmitEvent]:
    return {effect.reason: effect for effect in effects if isinstance(effect, EmitEvent)}


@pytest.mark.parametrize("reason", list(AdviceReason))
def test_advice_is_a_condition_a_column_and_an_event(reason: AdviceReason) -> None:
    """True where there is an interval, whichever way it points; nothing of it needs a person."""
    effects, _ = decide(asking(advice(reason)), FleetMemory())
    condition = conditions(effects)["Advised"]
    assert condition.reason == reason
    assert condition.status == ("Unknown" if reason is AdviceReason.UNKNOWN else "True")
    assert status(effects).advice == "+7% to +20%"
    assert said(effects)[reason].type == "Normal"


def test_only_another_verdict_is_another_event() -> None:
    """Intervals move with every look; whether it pays does not."""
    _, memory = decide(asking(advice()), FleetMemory())
    later = replace(asking(advice(summary="+8% to +21%")), now_seconds=NOW + 60)
    effects, memory = decide(later, memory)
    assert status(effects).advice == "+8% to +21%"
    assert said(effects) == {}
    effects, _ = decide(replace(asking(advice(AdviceReason.LOSS)), now_seconds=NOW + 120), memory)
    assert set(said(effects)) == {"LossExpected"}


@pytest.mark.parametrize(
    "observed", [asking(), asking(advice(), mode=Mode.ENFORCE), asking(advice(), mode=Mode.PAUSED)]
)
def test_nothing_is_said_where_nothing_is_known_or_asked(observed: FleetSnapshot) -> None:
    """A policy that controls has no use for what it would gain."""
    effects, _ = decide(observed, FleetMemory())
    assert "Advised" not in conditions(effects)
    assert status(effects).advice is None


@pytest.mark.parametrize("reason", list(AdviceReason))
@pytest.mark.parametrize("applied", [None, "waiting-0", "local-0-AB", "table-0", "probe-0-1", "by-hand"])
def test_no_advice_changes_an_engine(reason: AdviceReason, applied: str | None) -> None:
    """Neither from the first round on, nor after a time of Enforce: what the engine has is not even repeated."""
    there = pod(report=report(engine_id="engine-chat-0", applied_id=applied))
    enforced = snapshot(pods=(there,), profiles=(profile(),))
    effects, memory = decide(enforced, FleetMemory())
    assert pushes(effects) or applied == "probe-0-1"  # an overlay may have its time
    for start in (FleetMemory(), memory):
        known = start
        for minute in range(3):
            observed = replace(asking(advice(reason)), pods=(there,), now_seconds=NOW + 60 * minute)
            effects, known = decide(observed, known)
            assert not [effect for effect in effects if isinstance(effect, PushControl)]
