"""Demand that a gateway counts takes the place of what engines count, for as long as there is a number."""

import math
from typing import Any

import pytest

from tests.fleet.builders import KEY, NOW, conditions, pod, policy, profile, snapshot
from tests.fleet.test_load import ROUND, engine, load, near, observed, restarted, signal
from turbospec.fleet import queried
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.demand import Demand
from turbospec.fleet.prometheus_answers import QueriedDemand
from turbospec.fleet.queried import OLDEST_SECONDS, DemandReason, parsed

QUERY = "sum(rate(gateway_requests_total[1m]))"
ASKING = policy(demand_query=QUERY)


def answer(rate: float | None = 8.0, seconds: float = NOW + 60, **changes: Any) -> QueriedDemand:
    values: dict[str, Any] = {
        "namespace": "team",
        "policy": "chat",
        "query": QUERY,
        "requests_per_second": rate,
        "reason": DemandReason.ANSWERED,
        "message": "",
        "seconds": seconds,
    }
    return QueriedDemand(**(values | changes))


def told(*answers: QueriedDemand) -> FleetMemory:
    """A minute of four requests per second at two engines, with these answers at its end."""
    return observed(60, fleet={"policies": (ASKING,), "queried": answers})


def test_what_the_gateway_counts_is_the_demand() -> None:
    """Twice what has reached the engines: twice the ratio, with the pods as they are."""
    own = signal(observed(60))
    found = signal(told(answer(8.0)))
    assert found.demand_tokens_per_second == pytest.approx(800.0)
    assert found.ratio == pytest.approx(2 * own.ratio, rel=0.01)
    assert found.pod_capacity_tokens_per_second == own.pod_capacity_tokens_per_second
    assert signal(told(answer(0.0))).ratio == 0.0


@pytest.mark.parametrize(
    "useless",
    [
        answer(None, reason=DemandReason.UNREACHABLE),
        answer(8.0, seconds=NOW + 60 - OLDEST_SECONDS - ROUND),
        answer(8.0, seconds=NOW + 60 + OLDEST_SECONDS + ROUND),
        answer(math.nan),
        answer(-1.0),
        answer(8.0, policy="code"),
        answer(8.0, namespace="other"),
        answer(8.0, query="sum(another)"),
    ],
)
def test_without_a_number_of_now_engines_own_demand_stays_in_force(useless: QueriedDemand) -> None:
    """Clocks that are apart in either direction too: an answer from the future is of another time as well."""
    assert signal(told(useless)) == signal(observed(60))


def test_a_trend_of_what_engines_count_is_one_of_what_comes() -> None:
    counted = Demand(4.0, 6.0, expected_per_second=5.0)
    assert queried.instead(counted, 8.0) == Demand(8.0, 6.0, 10.0)
    assert queried.instead(Demand(0.0, 6.0, 0.0), 8.0) == Demand(8.0, 6.0)
    assert queried.instead(counted, None) is counted


def test_several_targets_share_it_as_requests_came_to_them() -> None:
    """One policy over two owners with different hardware: three requests to the one, one to the other."""
    other = "ffffffffffffffff"
    memory = FleetMemory()
    for number in range(40):
        now = number * ROUND
        views = (
            pod("chat-0", report=engine(0, now, rate=3.0)),
            pod("code-0", owner="deployment/code", report=engine(1, now, rate=1.0, profile_key=other)),
        )
        shown = snapshot(
            now_seconds=NOW + now,
            policies=(ASKING,),
            pods=views,
            profiles=(profile(), profile(name=f"profile-{other}", key=other)),
            queried=(answer(8.0, NOW + now),),
        )
        memory = decide(shown, memory)[1]
    first, second = memory.loads["team", "deployment/chat", KEY], memory.loads["team", "deployment/code", other]
    assert first.signal is not None
    assert second.signal is not None
    assert first.signal.demand_tokens_per_second == pytest.approx(600.0, rel=0.02)
    assert second.signal.demand_tokens_per_second == pytest.approx(200.0, rel=0.02)


def test_requests_that_reach_nobody_are_shared_by_pods() -> None:
    ready = {("team", "a", KEY): 3, ("team", "b", KEY): 1}
    assert list(queried.shares(ready, {}).values()) == [0.75, 0.25]
    assert list(queried.shares(dict.fromkeys(ready, 0), {}).values()) == [0.0, 0.0]


def test_engines_that_restart_do_not_matter_to_it() -> None:
    memory = told(answer())
    again = observed(20, memory=memory, start=62.0, change=restarted,
                     fleet={"policies": (ASKING,), "queried": (answer(8.0, NOW + 70),)})  # fmt: skip
    assert near(signal(again), signal(memory))
    assert load(again).unknown is None


@pytest.mark.parametrize(
    ("result", "rate", "reason"),
    [
        ([{"metric": {}, "value": [1.0, "12.5"]}], 12.5, DemandReason.ANSWERED),
        ([1.0, "3"], 3.0, DemandReason.ANSWERED),
        ([{"metric": {}, "value": [1.0, "0"]}], 0.0, DemandReason.ANSWERED),
        ([], None, DemandReason.NO_SERIES),
        ([{"value": [1, "1"]}, {"value": [1, "2"]}], None, DemandReason.SEVERAL_SERIES),
        ([{"metric": {}, "value": [1.0, "NaN"]}], None, DemandReason.NOT_A_RATE),
        ([{"metric": {}, "value": [1.0, "+Inf"]}], None, DemandReason.NOT_A_RATE),
        ([{"metric": {}, "value": [1.0, "-2"]}], None, DemandReason.NOT_A_RATE),
        ([{"metric": {}, "values": [[1.0, "2"]]}], None, DemandReason.NOT_A_RATE),
        ([1.0, "text"], None, DemandReason.NOT_A_RATE),
        ("text", None, DemandReason.NOT_A_RATE),
        (None, None, DemandReason.NOT_A_RATE),
    ],
)
def test_an_answer_is_one_number_or_a_reason(result: object, rate: float | None, reason: DemandReason) -> None:
    assert parsed(result)[:2] == (rate, reason)


@pytest.mark.parametrize(
    ("answers", "status", "reason", "text"),
    [
        ((answer(8.0, NOW),), "True", "QueryAnswered", "8 requests per second"),
        ((), "Unknown", "QueryPending", "not been asked yet"),
        ((answer(8.0, NOW - 100),), "False", "AnswerTooOld", "no newer answer"),
        (
            (answer(None, NOW, reason="SeveralSeries", message="3 series"),),
            "False",
            "SeveralSeries",
            "put sum()",
        ),
        ((answer(None, NOW, reason="PrometheusSlow"),), "False", "PrometheusSlow", "record it by a rule"),
        ((answer(None, NOW, reason="PrometheusNotConfigured"),), "False", "PrometheusNotConfigured", "prometheus.url"),
    ],
)
def test_the_condition_says_whether_there_is_a_number_and_what_to_do(
    answers: tuple[QueriedDemand, ...], status: str, reason: str, text: str
) -> None:
    shown = snapshot(policies=(ASKING,), profiles=(profile(),), queried=answers)
    found = conditions(decide(shown, FleetMemory())[0])["DemandKnown"]
    assert (found.status, found.reason) == (status, reason)
    assert text in found.message
    assert (status == "True") is not ("What engines count" in found.message)


def test_nothing_is_said_where_nobody_asks() -> None:
    shown = snapshot(profiles=(profile(),), queried=(answer(8.0, NOW),))
    assert "DemandKnown" not in conditions(decide(shown, FleetMemory())[0])


def test_every_reason_has_a_remedy() -> None:
    """Looked up by reason: one without would end the round."""
    for reason in DemandReason:
        said = queried.condition(ASKING, answer(None, NOW, reason=reason), NOW)
        assert said is not None
        assert said.reason == (DemandReason.STALE if reason is DemandReason.ANSWERED else reason)
