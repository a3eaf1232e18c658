"""Advice is worked out beside the loop, hours apart, and survives an operator that restarts."""

from typing import Any

import pytest
import requests

from tests.advise.builders import model
from tests.fleet.builders import NOW, pod, policy, profile, snapshot
from tests.operator.recorded_windows import Clock, Recorded
from tests.operator.test_advice import CUTTING
from tests.operator.test_reported_windows import engine
from turbospec.fleet.advised import AdviceReason
from turbospec.fleet.snapshot import FleetSnapshot, Mode
from turbospec_operator import advisor as advisor_module
from turbospec_operator.advisor import Advisor
from turbospec_operator.reported_windows import WINDOW_SECONDS

PLACE = ("team", "chat")


def asking(mode: Mode = Mode.ADVISE, **changes: Any) -> FleetSnapshot:
    mine = profile(latency=model(), hold_out_error=0.005)
    return snapshot(policies=(policy(mode=mode, **changes),), profiles=(mine,))


async def looked(advisor: Advisor, observed: FleetSnapshot, status: dict[str, Any] | None = None) -> list[str]:
    """The reasons after one round's work is done."""
    advisor.look(observed)
    await advisor.settled()
    return [view.reason for view in advisor.advised(observed, {PLACE: status or {}}).advice]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the advisor, at will."""
    clock = Clock(1000.0)
    monkeypatch.setattr("turbospec_operator.advisor.time", clock)
    return clock


async def test_prometheus_is_asked_hours_apart(clock: Clock) -> None:
    """And again, not at once, where the policy or its engines' profile is another."""
    source = Recorded(CUTTING[0])
    advisor = Advisor(source)
    assert await looked(advisor, asking()) == [AdviceReason.GAIN]
    once = source.asked
    assert await looked(advisor, asking(generation=2)) == [AdviceReason.GAIN]
    assert source.asked == once
    clock.now += advisor_module.RETRY_SECONDS
    await looked(advisor, asking())
    assert source.asked == once
    await looked(advisor, asking(generation=2))
    assert source.asked == 2 * once
    clock.now += advisor_module.SCRAPED_SECONDS
    await looked(advisor, asking(generation=2))
    assert source.asked == 3 * once


async def test_only_who_asks_for_advice_gets_it() -> None:
    """Nobody else costs Prometheus anything."""
    source = Recorded(CUTTING[0])
    for mode in (Mode.ENFORCE, Mode.PAUSED):
        assert await looked(Advisor(source), asking(mode)) == []
    assert source.asked == 0


@pytest.mark.parametrize("error", [requests.ConnectionError("refused"), KeyError("metric"), ZeroDivisionError()])
async def test_a_prometheus_that_fails_is_what_is_needed(
    clock: Clock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Said in the status, once in the log, and tried again after a while."""
    source = Recorded(error=error)
    advisor = Advisor(source)
    assert await looked(advisor, asking()) == [AdviceReason.UNKNOWN]
    (view,) = advisor.advised(asking(), {}).advice
    assert view.summary == "unknown: needs Prometheus"
    assert type(error).__name__ in view.message
    clock.now += advisor_module.RETRY_SECONDS
    await looked(advisor, asking())
    assert len(caplog.records) == 1
    source.error, source.window = None, CUTTING[0]
    clock.now += advisor_module.RETRY_SECONDS
    assert await looked(advisor, asking()) == [AdviceReason.GAIN]


async def test_without_prometheus_the_engines_own_counts_do() -> None:
    """After ten minutes, and with the time they cover; an operator before that says what it takes."""
    advisor = Advisor(None)
    now = NOW
    reasons: list[str] = []
    for _ in range(int(WINDOW_SECONDS / 2.0) + 2):
        there = pod(report=engine(now - NOW))
        reasons = await looked(advisor, snapshot(policies=(policy(mode=Mode.ADVISE),), pods=(there,), now_seconds=now))
        now += 2.0
    assert reasons == [AdviceReason.UNKNOWN]
    advisor = Advisor(None)
    mine = profile(latency=model(), hold_out_error=0.005)
    for number in range(int(WINDOW_SECONDS / 2.0) + 2):
        there = pod(report=engine(2.0 * number))
        observed = snapshot(
            policies=(policy(mode=Mode.ADVISE),), pods=(there,), profiles=(mine,), now_seconds=NOW + 2.0 * number
        )
        advisor._windows.see([there], observed.now_seconds)
    await looked(advisor, observed)
    (view,) = advisor.advised(observed, {}).advice
    assert "By the engines' own counts, over 0.2 hours." in view.message


async def test_what_an_earlier_operator_said_stands_until_there_is_something_to_go_by(clock: Clock) -> None:
    """A restart is no news; only when advice would have been made anew for hours it is dropped."""
    condition = {"type": "Advised", "status": "True", "reason": "GainExpected", "message": "llama: +7% to +20%."}
    status = {"advice": "+7% to +20%", "conditions": [condition]}
    advisor = Advisor(None)
    (view,) = advisor.advised(asking(), {PLACE: status}).advice
    assert (view.reason, view.summary, view.message) == ("GainExpected", "+7% to +20%", "llama: +7% to +20%.")
    assert await looked(advisor, asking(), status) == [AdviceReason.GAIN]
    clock.now += advisor_module.SCRAPED_SECONDS
    assert await looked(advisor, asking(), status) == [AdviceReason.UNKNOWN]
    written = {"conditions": [{**condition, "reason": "Nonsense"}]}
    assert advisor_module.written(policy(mode=Mode.ADVISE), written) is None


async def test_an_operator_that_ends_asks_nothing_more() -> None:
    """What waits for Prometheus in a thread would keep the process."""
    source = Recorded(CUTTING[0])
    advisor = Advisor(source)
    advisor.stop()
    assert await looked(advisor, asking()) == []
    assert source.asked == 0
