"""Profiling Jobs: who gets one, and when it is asked for again."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import KEY, NOW, conditions, job, jobs, pod, policy, profile, report, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import HarvestProfile
from turbospec.fleet.memory import forget
from turbospec.fleet.profiling import MAX_RETRY_SECONDS, retry_pause_seconds
from turbospec.fleet.snapshot import JobPhase, Mode, ProfileSource


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, 1),
        ({"mode": Mode.ADVISE}, 1),
        ({"mode": Mode.PAUSED}, 0),
        ({"profile_source": ProfileSource.EXISTING}, 0),
        ({"draft_tokens": (3,)}, 0),
        ({"draft_tokens": (9,)}, 0),
        ({"invalid": "no selector"}, 0),
    ],
)
def test_only_a_policy_that_needs_and_allows_it_makes_a_job(changes: dict[str, Any], want: int) -> None:
    """Advice needs a model too; a paused policy, source Existing, or a single K makes none."""
    effects, _ = decide(snapshot(policies=(policy(**changes),)), FleetMemory())
    assert len(jobs(effects)) == want


@pytest.mark.parametrize(
    "changes",
    [
        {"ready": False},
        {"terminating": True},
        {"injected": False, "report": None},
        {"report": report(unsupported_code="NoSpeculation")},
    ],
)
def test_only_a_pod_that_serves_is_copied(changes: dict[str, Any]) -> None:
    """A template that has never served would only fail in the Job too."""
    assert not jobs(decide(snapshot(pods=(pod(**changes),)), FleetMemory())[0])


def test_engines_of_one_kind_share_one_job_and_every_kind_has_its_own() -> None:
    """Three engines, two keys: two Jobs, measuring what any of the policies may use."""
    pods = (
        pod("a"),
        pod("b"),
        pod("c", report=report(engine_id="c", profile_key="ffffffffffffffff")),
        pod("d", labels=(("app", "code"),)),
    )
    code = policy("code", match_labels=(("app", "code"),), draft_tokens=(0, 5))
    both = (policy(max_concurrent_nodes=2), code)
    effects, _ = decide(snapshot(policies=both, pods=pods), FleetMemory())
    found = {effect.key: effect for effect in jobs(effects)}
    assert len(jobs(effects)) == len(found) == 2
    assert found[KEY].draft_tokens == (0, 1, 3, 5, 7)
    assert found["ffffffffffffffff"].template_pod == "c"


def test_job_that_does_not_show_is_asked_for_again_after_a_while() -> None:
    """Caches lag: not every round; told that it failed: at once. The name is always the same."""
    effects, memory = decide(snapshot(), FleetMemory())
    (first,) = jobs(effects)
    times = []
    later = memory
    for seconds in range(2, 62, 2):
        effects, later = decide(snapshot(now_seconds=NOW + seconds), later)
        assert all(effect == first for effect in jobs(effects))
        times.extend([seconds] * len(jobs(effects)))
    assert times == [30, 60]
    effects, _ = decide(snapshot(now_seconds=NOW + 2), forget(memory, [first]))
    assert jobs(effects) == [first]


def test_result_is_harvested_until_the_profile_is_there() -> None:
    """Once, again after a while, never beside a profile."""
    done = job(phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=NOW)
    observed = snapshot(jobs=(done,))
    times = []
    memory = FleetMemory()
    for seconds in range(0, 40, 2):
        effects, memory = decide(replace(observed, now_seconds=NOW + seconds), memory)
        times.extend([seconds for effect in effects if isinstance(effect, HarvestProfile)])
        assert not jobs(effects)
    assert times == [0, 30]
    effects, _ = decide(replace(observed, profiles=(profile(),)), FleetMemory())
    assert not [effect for effect in effects if isinstance(effect, HarvestProfile)]


def test_most_urgent_standing_of_a_kind_is_shown() -> None:
    """One engine pins K by what it captured, its twin lacks a profile: the condition is about the twin."""
    pods = (pod("a"), pod("b", report=report(engine_id="b", engine_draft_tokens=(0,))))
    for order in (pods, pods[::-1]):
        renamed = tuple(replace(view, name=name) for view, name in zip(order, ("a", "b"), strict=True))
        observed = snapshot(policies=(policy(profile_source=ProfileSource.EXISTING),), pods=renamed)
        effects, _ = decide(observed, FleetMemory())
        assert conditions(effects)["Profiled"].reason == "ProfileMissing"


def test_job_without_an_end_time_is_retried() -> None:
    """An end that nobody wrote down counts as long ago, or as when the Job was asked for."""
    failed = job(phase=JobPhase.FAILED, failure="evicted")
    effects, _ = decide(snapshot(jobs=(failed,)), FleetMemory())
    assert [effect.attempt for effect in jobs(effects)] == [2]


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(0, 7.5), (1, 30), (2, 120), (4, 1920), (5, 3600), (6, 3600), (10**9, 3600)]
)
def test_pauses_grow_up_to_a_cap(attempt: int, seconds: float) -> None:
    """Whatever an edited annotation says."""
    assert retry_pause_seconds(attempt) == seconds <= MAX_RETRY_SECONDS
