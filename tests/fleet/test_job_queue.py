"""The queue of profiling Jobs: few nodes at a time, namespaces in turn, nothing in a scale event, one Job per node."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.builders import KEY, NOW, conditions, job, jobs, pod, policy, report, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import CreateProfilingJob
from turbospec.fleet.job_queue import Want, busy, last_created, next_jobs
from turbospec.fleet.settling import SETTLE_SECONDS, scaling_owners
from turbospec.fleet.snapshot import JobObstacle, JobPhase, PodView, PolicyView, ProfilingCapacity


def want(namespace: str, name: str = "job", attempt: int = 1, nodes: int = 1) -> Want:
    """A Job that somebody wants."""
    created = CreateProfilingJob(namespace, name, "key", "pod", "policy", "uid", (0, 1), attempt)
    return Want(created, nodes)


def names(found: tuple[CreateProfilingJob, ...]) -> list[str]:
    """Short."""
    return [f"{each.namespace}/{each.name}" for each in found]


@pytest.mark.parametrize(
    ("wants", "busy_nodes", "latest", "expected"),
    [
        ([want("a"), want("b")], 0, {}, ["a/job"]),
        ([want("a"), want("b")], 0, {"a": 5.0}, ["b/job"]),
        ([want("a"), want("b")], 0, {"a": 5.0, "b": 9.0}, ["a/job"]),
        ([want("a"), want("b")], 1, {}, []),
        ([want("a", nodes=2), want("b", nodes=2)], 0, {}, ["a/job", "b/job"]),
        ([want("a", "x", nodes=3), want("a", "y", nodes=3), want("b", "z", nodes=3)], 0, {}, ["a/x", "b/z", "a/y"]),
        ([want("a", "again", attempt=2), want("a", "zirst")], 0, {}, ["a/zirst"]),
        ([want("a", nodes=1), want("b", nodes=9)], 1, {}, []),
        ([want("a", nodes=1), want("b", nodes=9)], 1, {"a": 1.0}, ["b/job"]),
    ],
    ids=[
        "one at a time", "whoever never had one", "whose last is longest ago", "a busy node", "two at a time",
        "turn by turn", "first attempts first", "nobody overtakes", "whose turn it is may start",
    ],
)  # fmt: skip
def test_namespaces_take_turns_within_the_limit(
    wants: list[Want], busy_nodes: int, latest: dict[str, float], expected: list[str]
) -> None:
    """Each row: what is wanted, how many nodes measure, when a namespace last had a Job, and what is created now."""
    assert names(next_jobs(wants, busy_nodes, latest)) == expected
    assert names(next_jobs(wants[::-1], busy_nodes, latest)) == expected


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 12), min_size=2),
    st.integers(1, 4),
)
def test_a_namespace_with_many_keys_holds_up_nobody(keys: dict[str, int], nodes: int) -> None:
    """While several namespaces wait, none gets two Jobs more than another."""
    waiting = [want(namespace, f"job-{n}", nodes=nodes) for namespace, count in keys.items() for n in range(count)]
    latest: dict[str, float] = {}
    got: Counter[str] = Counter()
    clock = 0.0
    while waiting:
        found = next_jobs(waiting, 0, latest)
        assert 0 < len(found) <= nodes
        for each in found:
            clock += 1.0
            latest[each.namespace] = clock
            got[each.namespace] += 1
        waiting = [each for each in waiting if each.job not in found]
        left = {each.job.namespace for each in waiting}
        assert all(got[other] <= got[namespace] + 1 for namespace in left for other in got)


@pytest.mark.parametrize(
    ("views", "requested", "count"),
    [
        ([job(node="n1")], [], 1),
        ([job(node="n1"), job(name="other", node="n1")], [], 1),
        ([job(node="n1"), job(name="other", node="n2")], [], 2),
        ([job(node=None), job(name="other", node=None)], [], 2),
        ([job(node="n1", waiting="its pod cannot be scheduled")], [], 0),
        ([job(node="n1", phase=JobPhase.FAILED)], [], 0),
        ([], [("team", "asked-for")], 1),
        ([job(name="asked-for", node="n1")], [("team", "asked-for")], 1),
    ],
)
def test_nodes_are_busy_while_they_measure(views: list[Any], requested: list[tuple[str, str]], count: int) -> None:
    """Also for a Job that was asked for and does not show yet; not for one whose pod waits for something."""
    assert busy(views, requested) == count


def test_turns_survive_a_restart() -> None:
    """Because they are read from the Jobs that are there."""
    seen = last_created([job(created_seconds=3.0), job(name="b", created_seconds=7.0), job(namespace="other")])
    assert seen == {"team": 7.0, "other": 0.0}


def two_namespaces(**changes: Any) -> dict[str, Any]:
    """A policy and an engine of one kind in each of two namespaces."""
    policies = tuple(policy(name, namespace=name, **changes) for name in ("east", "west"))
    pods = tuple(pod(name, namespace=name, report=report(engine_id=name)) for name in ("east", "west"))
    return {"policies": policies, "pods": pods}


def test_the_second_namespace_waits_and_is_told_so() -> None:
    """The default: one node at a time, over all namespaces."""
    observed = snapshot(**two_namespaces())
    effects, memory = decide(observed, FleetMemory())
    assert [each.namespace for each in jobs(effects)] == ["east"]
    waiting = conditions(effects, "west")["Profiled"]
    assert waiting.reason == "ProfilingPending"
    assert "at most 1 nodes measure" in waiting.message
    running = job(namespace="east", node="node-1", created_seconds=NOW)
    effects, memory = decide(replace(observed, now_seconds=NOW + 60, jobs=(running,)), memory)
    assert not jobs(effects)
    done = replace(running, phase=JobPhase.FAILED, failure="why", finished_seconds=NOW + 90)
    effects, _ = decide(replace(observed, now_seconds=NOW + 300, jobs=(done,)), memory)
    assert [each.namespace for each in jobs(effects)] == ["west"]


def test_a_job_that_cannot_be_created_holds_up_nobody() -> None:
    """It is tried again after a while; the others go on, and its policy says why."""
    observed = snapshot(**two_namespaces())
    effects, memory = decide(observed, FleetMemory())
    (first,) = jobs(effects)
    obstacle = JobObstacle("east", first.name, first.key, "No node has room.")
    effects, memory = decide(replace(observed, now_seconds=NOW + 2, obstacles=(obstacle,)), memory)
    assert [each.namespace for each in jobs(effects)] == ["west"]
    blocked = conditions(effects, "east")["Profiled"]
    assert blocked.reason == "ProfilingBlocked"
    assert blocked.message.startswith("No node has room. It is tried again")
    running = job(namespace="west", node="node-2", created_seconds=NOW)
    later = replace(observed, now_seconds=NOW + 60, jobs=(running,), obstacles=(obstacle,))
    assert not jobs(decide(later, memory)[0])


def test_two_nodes_at_a_time_are_two_nodes() -> None:
    """The second Job is told on which nodes others measure."""
    observed = snapshot(**two_namespaces(max_concurrent_nodes=2))
    running = job(namespace="east", node="node-1", created_seconds=NOW)
    effects, _ = decide(replace(observed, jobs=(running,)), FleetMemory())
    (second,) = jobs(effects)
    assert (second.namespace, second.nodes, second.busy_nodes) == ("west", ("node-1",), ("node-1",))


@pytest.mark.parametrize(
    ("changes", "measures"),
    [
        ({}, True),
        ({"ready": False, "changed_seconds": NOW - 30}, False),
        ({"terminating": True, "changed_seconds": NOW - 30}, False),
        ({"ready": False, "changed_seconds": NOW - SETTLE_SECONDS - 1}, True),
        ({"terminating": True, "changed_seconds": NOW - SETTLE_SECONDS - 1}, True),
        ({"ready": False, "changed_seconds": NOW - 30, "owner": "deployment/x", "labels": (("app", "x"),)}, True),
        ({"ready": False, "changed_seconds": NOW - 30, "owner": None}, True),
    ],
    ids=["settled", "starting", "ending", "broken", "stuck", "another workload", "of nobody"],
)
def test_nothing_is_measured_in_a_scale_event(changes: dict[str, Any], *, measures: bool) -> None:
    """A second pod of the same workload that has just come or is about to go; one that never gets Ready counts not."""
    effects, _ = decide(snapshot(pods=(pod("chat-0"), pod("chat-1", **changes))), FleetMemory())
    assert bool(jobs(effects)) is measures
    if not measures:
        message = conditions(effects)["Profiled"].message
        assert message == "profiling starts when all pods of deployment/chat are Ready."


def test_owners_are_told_apart_by_namespace() -> None:
    """Every namespace may have a deployment/chat."""
    starting: PodView = pod("chat-1", namespace="east", ready=False, changed_seconds=NOW)
    assert scaling_owners([starting, pod("chat-0", namespace="west")], NOW) == {("east", "deployment/chat")}


def test_may_provision_is_the_oldest_wanting_policys_word() -> None:
    """As its draft tokens are everybody's, the place is decided once for a key."""
    old: PolicyView = policy(capacity=ProfilingCapacity.MAY_PROVISION)
    effects, _ = decide(snapshot(policies=(old,)), FleetMemory())
    assert [each.may_provision for each in jobs(effects)] == [True]
    assert KEY in jobs(effects)[0].name
