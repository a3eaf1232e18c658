"""Where the operator may not create Jobs, source Job is source Serving until it may."""

from dataclasses import replace

import pytest

from tests.fleet.builders import (
    KEY,
    MODEL,
    NOW,
    conditions,
    job,
    jobs,
    pod,
    policy,
    profile,
    pushes,
    report,
    snapshot,
    status,
)
from tests.fleet.serving_builders import NAME, cells, written
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import EmitEvent, HarvestProfile
from turbospec.fleet.profiling import job_name
from turbospec.fleet.snapshot import FleetSnapshot, JobObstacle, JobPhase, Mode, PodView

FORBIDDEN = JobObstacle("team", job_name(KEY, 1), KEY, "The operator may not create jobs.batch: do this.", True)
OTHER = "ffffffffffffffff"
GROWN = profile(name=NAME, served=True, latency=MODEL, measured_seconds=NOW - 10, coverage="grown while serving: x")


def fleet(**changes: object) -> FleetSnapshot:
    measured = pod(cells=cells())
    return replace(snapshot(pods=(measured,), obstacles=(FORBIDDEN,)), **changes)  # type: ignore[arg-type]


def told(snapshot: FleetSnapshot) -> tuple[str, str, str]:
    """Status, reason and message of Profiled."""
    found = conditions(decide(snapshot, FleetMemory())[0])["Profiled"]
    return found.status, found.reason, found.message


def running(observed: FleetSnapshot) -> PodView:
    """The engine with what it was sent first in force."""
    (view,) = observed.pods
    assert view.report is not None
    (document,) = pushes(decide(observed, FleetMemory())[0])
    return replace(view, report=replace(view.report, applied_id=document.document_id))


def test_a_profile_grows_and_the_condition_says_why_and_what_would_change_it() -> None:
    """Nothing is broken: engines count as controlled, and no event warns."""
    effects, _ = decide(fleet(), FleetMemory())
    assert [effect.name for effect in written(effects)] == [NAME]
    found, reason, message = told(fleet())
    assert (found, reason) == ("False", "JobsForbidden")
    assert "as with source Serving" in message
    assert "do this. It is tried again every 30 s." in message
    (event,) = [each for each in effects if isinstance(each, EmitEvent) and each.reason == "JobsForbidden"]
    assert event.type == "Normal"
    bare = fleet(pods=(pod(),))
    effects, _ = decide(replace(bare, pods=(running(bare),)), FleetMemory())
    assert status(effects).engines[0].controlled


def test_what_has_grown_is_used_and_the_condition_goes_on_saying_why() -> None:
    """As a profile, not as one that is old."""
    observed = fleet(profiles=(GROWN,))
    found, reason, message = told(observed)
    assert (found, reason) == ("True", "ProfileGrownWithoutJob")
    assert "grown while serving: x" in message
    assert "do this." in message
    assert pushes(decide(observed, FleetMemory())[0])[0].latency is not None
    later = fleet(profiles=(replace(GROWN, measured_seconds=NOW - 400),), pods=(pod(cells=cells(factor=1.2)),))
    assert len(written(decide(later, FleetMemory())[0])) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"obstacles": ()},
        {"obstacles": (replace(FORBIDDEN, forbidden=False),)},
        {"obstacles": (replace(FORBIDDEN, namespace="other"),)},
        {"obstacles": (replace(FORBIDDEN, key=OTHER, name=job_name(OTHER, 1)),)},
        {"policies": (policy(mode=Mode.PAUSED),)},
        {"profiles": (profile(measured_seconds=NOW - 1e9),), "policies": (policy(max_age_seconds=60.0),)},
    ],
    ids=["allowed", "no room", "another namespace", "another key", "paused", "measured once"],
)
def test_only_a_job_that_is_forbidden_makes_a_profile_grow(changes: dict[str, object]) -> None:
    """Room comes and goes; and what was measured, however old, is not replaced by what has grown."""
    assert not written(decide(fleet(**changes), FleetMemory())[0])
    assert told(fleet(**changes))[1] not in ("JobsForbidden", "ProfileGrownWithoutJob")


def test_an_old_profile_stays_in_use_and_says_what_is_missing() -> None:
    """The condition of one that is measured again, with the command."""
    old = fleet(profiles=(profile(measured_seconds=NOW - 1e9),), policies=(policy(max_age_seconds=60.0),))
    found, reason, message = told(old)
    assert (found, reason) == ("True", "ProfileStale")
    assert "do this." in message
    assert "no profile yet" not in message


def test_the_job_is_tried_again_and_wins_as_soon_as_it_is_allowed() -> None:
    """Every 30 s, beside the profile that has grown."""
    observed, memory, tries = fleet(profiles=(GROWN,)), FleetMemory(), []
    for seconds in range(0, 62, 2):
        effects, memory = decide(replace(observed, now_seconds=NOW + seconds), memory)
        tries.extend([seconds] * len(jobs(effects)))
    assert tries == [0, 30, 60]
    observed = replace(observed, obstacles=(), now_seconds=NOW + 62)
    effects, memory = decide(replace(observed, jobs=(job(),)), memory)
    assert conditions(effects)["Profiled"].reason == "ProfileStale"
    done = job(phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=NOW + 100)
    effects, memory = decide(replace(observed, jobs=(done,), now_seconds=NOW + 102), memory)
    assert [each.profile for each in effects if isinstance(each, HarvestProfile)] == [f"profile-{KEY}"]
    effects, _ = decide(replace(observed, jobs=(done,), profiles=(GROWN, profile())), FleetMemory())
    assert conditions(effects)["Profiled"].reason == "ProfileReady"


@pytest.mark.parametrize("reason", ["JobsForbidden", "ProfileGrownWithoutJob"])
def test_a_restarted_operator_says_nothing_else_before_it_knows_better(reason: str) -> None:
    """It tries at once, and until it has the answer its policy's status holds: no event, no flicker."""
    grown = (GROWN,) if reason == "ProfileGrownWithoutJob" else ()
    observed = fleet(obstacles=(), profiles=grown, policies=(policy(reported=(("Profiled", reason),)),))
    effects, memory = decide(observed, FleetMemory())
    assert len(jobs(effects)) == 1
    assert conditions(effects)["Profiled"].reason == reason
    assert not [each for each in effects if isinstance(each, EmitEvent) and each.reason.startswith("Prof")]
    allowed = replace(observed, now_seconds=NOW + 2)
    effects, _ = decide(allowed, memory)
    assert conditions(effects)["Profiled"].reason == ("ProfileStale" if grown else "ProfilingInProgress")


def test_waiting_for_a_turn_is_no_reason_to_stop_growing() -> None:
    """Another namespace's Job measures meanwhile."""
    other = policy("other", namespace="west")
    west = pod("west-0", namespace="west", report=report(engine_id="west"))
    busy = job(namespace="west", node="node-2")
    observed = fleet(policies=(policy(), other), pods=(pod(cells=cells()), west), jobs=(busy,))
    effects, _ = decide(observed, FleetMemory())
    assert not jobs(effects)
    assert conditions(effects)["Profiled"].reason == "JobsForbidden"
    assert len(written(effects)) == 1
    grown, _ = decide(replace(observed, profiles=(GROWN,)), FleetMemory())
    assert conditions(grown)["Profiled"].reason == "ProfileGrownWithoutJob"
