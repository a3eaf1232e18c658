"""What goes wrong with profiling Jobs: said with a remedy, tried again with pauses, whatever the clocks say."""

from dataclasses import replace

import pytest

from tests.fleet.builders import NOW, conditions, job, jobs, profile, snapshot
from tests.fleet.world import Engine, World
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import HarvestProfile
from turbospec.fleet.job_times import JobSight, ended_at, look
from turbospec.fleet.snapshot import JobPhase

HOUR = 3600.0


@pytest.mark.parametrize(
    ("finished", "running", "ended", "expected"),
    [
        (NOW, None, None, NOW),
        (NOW, NOW - 2, NOW, NOW),
        (NOW - HOUR, NOW - 2, NOW, NOW - 2),
        (NOW + HOUR, NOW - 2, NOW, NOW),
        (NOW + HOUR, None, NOW, NOW),
        (NOW - HOUR, None, NOW, NOW - HOUR),
        (None, NOW - 2, NOW, NOW - 2),
        (None, None, None, None),
    ],
)
def test_an_end_lies_between_what_we_have_seen(
    finished: float | None, running: float | None, ended: float | None, expected: float | None
) -> None:
    """The cluster's word, bounded by when we last saw it run and first saw it ended."""
    failed = job(phase=JobPhase.FAILED, finished_seconds=finished)
    assert ended_at(failed, JobSight(running, ended)) == expected


def test_sights_are_kept_while_the_job_is_there() -> None:
    """The first sight of the end counts, the last of the run."""
    running, failed = job(), job(phase=JobPhase.FAILED)
    seen = look([running], {}, 1.0)
    seen = look([running], seen, 2.0)
    seen = look([failed], seen, 3.0)
    seen = look([failed], seen, 4.0)
    assert seen == {("team", running.name): JobSight(2.0, 3.0)}
    assert look([], seen, 5.0) == {}


@pytest.mark.parametrize("skew", [-2 * HOUR, -100.0, 0.0, 100.0, 2 * HOUR])
def test_pauses_hold_whatever_the_clock_of_the_cluster_says(skew: float) -> None:
    """Hours ahead or behind: thirty seconds after the first failure, not at once and not tomorrow."""
    world = World(snapshot(jobs=(job(node="node-1"),)), {"chat-0": Engine("chat-0")})
    world.rounds(3)
    ended = world.now
    failed = job(phase=JobPhase.FAILED, failure="why", finished_seconds=ended + skew)
    world.snapshot = replace(world.snapshot, jobs=(failed,))
    while not jobs(world.round()):
        assert world.now < ended + 60
    assert world.now >= ended + 26


def test_what_a_pod_waits_for_is_said_and_no_second_job_is_made() -> None:
    """Until its deadline the Job may still get what it lacks."""
    waiting = job(waiting="its pod cannot be scheduled (0/1 nodes are available).", unchecked="list nodes")
    effects, _ = decide(snapshot(jobs=(waiting,)), FleetMemory())
    assert not jobs(effects)
    condition = conditions(effects)["Profiled"]
    assert (condition.status, condition.reason) == ("False", "ProfilingBlocked")
    assert "0/1 nodes are available" in condition.message
    assert "the operator may not list nodes" in condition.message


def test_a_profile_that_is_deleted_comes_back_from_its_job() -> None:
    """Deleted by mistake it costs nothing; engines keep the model meanwhile. Without the Job it is measured anew."""
    done = job(phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=NOW)
    _, memory = decide(snapshot(jobs=(done,), profiles=(profile(),)), FleetMemory())
    effects, memory = decide(snapshot(now_seconds=NOW + 60, jobs=(done,)), memory)
    assert [each.job for each in effects if isinstance(each, HarvestProfile)] == [done.name]
    assert not jobs(effects)
    effects, _ = decide(snapshot(now_seconds=NOW + 120), memory)
    assert [each.attempt for each in jobs(effects)] == [1]
