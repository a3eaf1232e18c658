"""The crash-loop breaker: two injected pods that fail before they are Ready stop their template."""

from dataclasses import replace

import pytest

from tests.fleet.builders import NOW, conditions, pod, policy, snapshot, status
from turbospec.fleet.breaker import MAX_STOPPED, in_force, judge
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import EmitEvent, StoppedTemplate
from turbospec.fleet.snapshot import PodView


def failing(name: str, template: str | None = "t1", **changes: object) -> PodView:
    """An injected pod whose engine ended before it was Ready."""
    values: dict[str, object] = {
        "template": template,
        "failed_start": "Error, exit code 1",
        "ready": False,
        "report": None,
    }
    return pod(name, **(values | changes))


STOP = StoppedTemplate("t1", "because")


@pytest.mark.parametrize(
    ("pods", "stopped"),
    [
        ([failing("a"), failing("b")], ["t1"]),
        ([failing("a")], []),
        ([failing("a"), failing("b", template="t2")], []),
        ([failing("a"), failing("b", failed_start=None)], []),
        ([failing("a"), failing("b", injected=False)], []),
        ([failing("a"), failing("b", ready=True)], []),
        ([failing("a", template=None), failing("b", template=None)], []),
        ([failing(name, template) for name, template in zip("abcd", ["t1", "t2"] * 2, strict=True)], ["t1", "t2"]),
    ],
    ids=["two", "one", "one each", "one starts", "one without us", "one recovered", "uncounted", "two of each"],
)
def test_two_pods_of_one_template_stop_it(pods: list[PodView], stopped: list[str]) -> None:
    """Distinct pods, the same template, both with our runtime."""
    found, _ = judge(policy(), pods, ())
    assert [stop.template for stop in found] == stopped


def test_pods_that_are_deleted_meanwhile_count() -> None:
    """Only one pod of a small Deployment is there at a time; a restart of the same container counts once."""
    first, memory = judge(policy(), [failing("a")], ())
    assert not first
    assert judge(policy(), [failing("a")], memory) == (first, memory)
    nothing, memory = judge(policy(), [], memory)
    assert not nothing
    found, memory = judge(policy(), [failing("b")], memory)
    assert [stop.template for stop in found] == ["t1"]
    assert memory == ()


def test_what_is_stopped_stays_so_without_any_pod_and_without_memory() -> None:
    """The status in the cluster is the memory: a restarted operator repeats what it says."""
    found, _ = judge(policy(stopped=(STOP,)), [], ())
    assert found == (STOP,)
    assert in_force(policy(stopped=(STOP,))) == (STOP,)


def test_a_person_lets_it_go_on() -> None:
    """The annotation clears the row, and later failures of that template are not counted; others are."""
    freed = policy(stopped=(STOP,), inject_anyway=frozenset({"t1"}))
    assert in_force(freed) == ()
    assert judge(freed, [failing("a"), failing("b")], ()) == ((), ())
    found, _ = judge(freed, [failing("a", "t2"), failing("b", "t2")], ())
    assert [stop.template for stop in found] == ["t2"]
    assert "turbospec.io/inject-anyway=t1,t2" in found[0].message


def test_rows_are_bounded() -> None:
    """The newest stay."""
    old = tuple(StoppedTemplate(f"old-{number}", "") for number in range(MAX_STOPPED))
    found, _ = judge(policy(stopped=old), [failing("a"), failing("b")], ())
    assert len(found) == MAX_STOPPED
    assert found[-1].template == "t1"


def test_status_condition_and_event_say_what_to_do() -> None:
    """Once: in the status for the webhook, in a condition and one event for people."""
    observed = snapshot(pods=(failing("a"), failing("b")))
    effects, memory = decide(observed, FleetMemory())
    (row,) = status(effects).stopped
    assert row.template == "t1"
    condition = conditions(effects)["Injected"]
    assert (condition.status, condition.reason) == ("False", "InjectionStopped")
    for text in ("b (Error, exit code 1)", "kubectl logs b -n team --previous", "turbospec.io/inject-anyway=t1"):
        assert text in condition.message
    assert [each.type for each in effects if isinstance(each, EmitEvent) and each.reason == "InjectionStopped"] == [
        "Warning"
    ]
    written = policy(stopped=(row,), reported=tuple((each.type, each.reason) for each in status(effects).conditions))
    again, _ = decide(replace(observed, policies=(written,), now_seconds=NOW + 2), memory)
    assert not [each for each in again if isinstance(each, EmitEvent)]
