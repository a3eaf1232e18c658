"""A profile that has outlived profiling.maxAge is measured again, and used until the new one is there."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import KEY, NOW, conditions, job, jobs, latency_model, pod, policy, profile, pushes, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import CreateProfilingJob, HarvestProfile
from turbospec.fleet.snapshot import FleetSnapshot, JobPhase, Mode, ProfileSource

DAY = 86400.0
OLD = profile(measured_seconds=NOW - 31 * DAY)


def world(**changes: Any) -> FleetSnapshot:
    """A profile of 31 days under a policy that wants at most 30."""
    return snapshot(**({"policies": (policy(max_age_seconds=30 * DAY),), "profiles": (OLD,)} | changes))


def requests(observed: FleetSnapshot) -> list[CreateProfilingJob | HarvestProfile]:
    effects, _ = decide(observed, FleetMemory())
    return [effect for effect in effects if isinstance(effect, CreateProfilingJob | HarvestProfile)]


def test_an_old_profile_stays_in_use_while_one_job_measures_it_again() -> None:
    """The condition is True, and says how old it is and what is being done."""
    effects, _ = decide(world(), FleetMemory())
    assert [effect.name for effect in jobs(effects)] == [f"turbospec-profile-{KEY}"]
    assert pushes(effects)[0].latency == OLD.latency
    profiled = conditions(effects)["Profiled"]
    assert (profiled.status, profiled.reason) == ("True", "ProfileStale")
    for said in (f"profile-{KEY}", "31 days ago", "spec.profiling.maxAge", "being created"):
        assert said in profiled.message


@pytest.mark.parametrize(
    "changes",
    [
        {"policies": (policy(),)},
        {"policies": (policy(max_age_seconds=32 * DAY),)},
        {"policies": (policy(max_age_seconds=30 * DAY, profile_source=ProfileSource.EXISTING),)},
        {"policies": (policy(max_age_seconds=30 * DAY, mode=Mode.PAUSED),)},
        {"profiles": (replace(OLD, measured_seconds=None),)},
        {"profiles": (replace(OLD, measured_seconds=NOW + 40 * DAY),)},
        {"profiles": (replace(OLD, latency=None, invalid="no cells"),)},
        {"profiles": (OLD, replace(OLD, namespace=None, name="shared", measured_seconds=NOW)), "policies": (policy(),)},
    ],
)
def test_nothing_else_is_measured_again(changes: dict[str, Any]) -> None:
    """Not without a maximum age or below it, by who may not, of unknown age, by a skewed clock, or once refused."""
    assert not requests(world(**changes))


def test_the_result_replaces_the_profile_and_the_old_result_is_not_taken_for_it() -> None:
    """A Job that ended before the profile was measured made it; its name must be free before there is another."""
    done = job(phase=JobPhase.SUCCEEDED, harvestable=True)
    before = replace(done, finished_seconds=NOW - 31 * DAY)
    assert not requests(world(jobs=(before,)))
    (harvest,) = requests(world(jobs=(replace(done, finished_seconds=NOW - 60),)))
    assert harvest == HarvestProfile("team", done.name, f"profile-{KEY}", replaces=True)
    fresh = profile(measured_seconds=NOW - 60, latency=latency_model(1.1))
    assert not requests(world(jobs=(replace(done, finished_seconds=NOW - 60),), profiles=(fresh,)))


def test_a_running_or_failed_job_is_followed_as_ever() -> None:
    """No second one beside it; after a failure the next attempt, while the old profile stays."""
    assert not requests(world(jobs=(job(),)))
    failed = job(phase=JobPhase.FAILED, failure="evicted", finished_seconds=NOW - 31)
    effects, _ = decide(world(jobs=(failed,)), FleetMemory())
    assert [effect.attempt for effect in jobs(effects)] == [2]
    failed = replace(failed, finished_seconds=NOW - 1)
    effects, _ = decide(world(jobs=(failed,)), FleetMemory())
    assert "evicted" in conditions(effects)["Profiled"].message
    assert pushes(effects)[0].latency == OLD.latency


def test_the_youngest_demand_counts() -> None:
    """Two policies, one of which wants it younger: it owns the Job, and one Job serves both."""
    patient = policy("chat", max_age_seconds=60 * DAY)
    strict = policy("strict", max_age_seconds=7 * DAY, match_labels=(("app", "strict"),))
    pods = (pod(), pod("strict-0", labels=(("app", "strict"),)))
    effects, _ = decide(world(policies=(patient, strict), pods=pods), FleetMemory())
    assert [effect.policy for effect in jobs(effects)] == ["strict"]
