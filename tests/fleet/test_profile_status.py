"""What a SpeculationProfile says of itself: a word on its use, a word on its freshness, written on changes only."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import KEY, NOW, pod, policy, profile, report, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import ConditionValue, Effect, SetProfileStatus
from turbospec.fleet.memory import forget
from turbospec.fleet.profile_status import WRITE_PAUSE_SECONDS, ProfileUse, profile_statuses
from turbospec.fleet.profiles import fitting
from turbospec.fleet.profiling import Candidate
from turbospec.fleet.snapshot import EngineIdentity, FleetSnapshot, ProfileSource, ProfileView

GROWN = {"name": f"serving-{KEY}", "served": True, "measured_seconds": NOW - 60}
DAY = 86400.0


def view(**changes: Any) -> ProfileView:
    return profile(**({"uid": f"uid-{changes.get('name', '')}", "generation": 3} | changes))


def written(effects: tuple[Effect, ...]) -> dict[str, SetProfileStatus]:
    return {effect.name: effect for effect in effects if isinstance(effect, SetProfileStatus)}


def words(observed: FleetSnapshot) -> dict[str, str]:
    """The reasons that kubectl shows, by profile."""
    found = written(decide(observed, FleetMemory())[0])
    return {name: " ".join(each.reason for each in effect.conditions) for name, effect in found.items()}


@pytest.mark.parametrize(
    ("profiles", "changes", "expected"),
    [
        ((view(),), {}, ["InUse Fresh"]),
        ((view(key="ffffffffffffffff", name="other"),), {}, ["NoEngines Fresh"]),
        ((view(**GROWN),), {"profile_source": ProfileSource.SERVING}, ["InUse Grown"]),
        ((view(), view(**GROWN)), {}, ["InUse Fresh", "Superseded Grown"]),
        ((view(), view(name="by-hand")), {}, ["InUse Fresh", "Superseded Fresh"]),
        ((view(name="by-hand", latency=None, invalid="no K = 0"), view()), {}, ["Refused Refused", "InUse Fresh"]),
        ((view(measured_seconds=NOW - 2 * DAY),), {"max_age_seconds": DAY}, ["InUse Stale"]),
        ((view(measured_seconds=NOW - 2 * DAY),), {"max_age_seconds": 3 * DAY}, ["InUse Fresh"]),
    ],
    ids=["in use", "unneeded", "grown", "beside a grown one", "two measured", "one refused", "old", "not yet old"],
)
def test_a_profile_says_in_two_words_how_it_stands(
    profiles: tuple[ProfileView, ...], changes: dict[str, Any], expected: list[str]
) -> None:
    """As ``kubectl get specprof`` shows them."""
    observed = snapshot(policies=(policy(**changes),), profiles=profiles)
    assert list(words(observed).items()) == sorted(zip([each.name for each in profiles], expected, strict=True))


def test_one_that_stands_in_says_for_whom() -> None:
    """Until the engines' own is measured."""
    ours = EngineIdentity("h100", "target", "drafter", "eagle3", (), "0.32.0")
    engine = pod(report=report(identity=ours))
    other = view(name="other", key="ffffffffffffffff", identity=replace(ours, engine_version="0.32.1"))
    effects, _ = decide(snapshot(pods=(engine,), profiles=(other,)), FleetMemory())
    in_use, _ = written(effects)["other"].conditions
    assert (in_use.status, in_use.reason) == ("True", "StandsIn")
    assert in_use.message == "it stands in, until their own is measured, for engines of policy chat."


def test_only_the_profile_that_is_used_can_have_drifted() -> None:
    """The engines compare with that one."""
    used, beside = view(), view(name="by-hand")
    engine = pod()
    assert engine.report is not None
    place = ("team", KEY)
    candidate = Candidate(policy(), engine, engine.report, (0, 1))
    use = ProfileUse((candidate,), {place: fitting(used)}, frozenset({place}), NOW)
    effects, _ = profile_statuses((used, beside), use, {})
    assert {effect.name: effect.conditions[1].reason for effect in effects} == {
        used.name: "Drifted",
        "by-hand": "Fresh",
    }


def test_of_other_namespaces_and_of_the_cluster_nothing_is_said() -> None:
    """A profile is its namespace's; the cluster's belong to administrators, and are only read."""
    elsewhere, shared = view(name="elsewhere", namespace="other"), view(name="shared", namespace=None)
    assert words(snapshot(profiles=(elsewhere, shared))) == {"elsewhere": "NoEngines Fresh"}
    own = view(name="by-hand", latency=None, invalid="bad")
    assert words(snapshot(profiles=(own, shared))) == {"by-hand": "Refused Refused"}


def test_what_the_object_says_already_is_not_written_again() -> None:
    """Nor twice while a write is on its way; after a failure at once. A restarted operator reads what was said."""
    observed = snapshot(profiles=(view(),))
    effects, memory = decide(observed, FleetMemory())
    (effect,) = written(effects).values()
    assert (effect.uid, effect.observed_generation) == ("uid-", 3)
    times = []
    later = memory
    for seconds in range(2, 64, 2):
        effects, later = decide(replace(observed, now_seconds=NOW + seconds), later)
        times.extend([seconds] * len(written(effects)))
    assert times == [WRITE_PAUSE_SECONDS, 2 * WRITE_PAUSE_SECONDS]
    soon = replace(observed, now_seconds=NOW + 2)
    assert written(decide(soon, forget(memory, [effect]))[0])
    said = replace(observed, profiles=(view(reported=effect.conditions),))
    assert not written(decide(said, FleetMemory())[0])
    other = replace(effect.conditions[0], reason="NoEngines")
    assert written(decide(replace(observed, profiles=(view(reported=(other, effect.conditions[1])),)), memory)[0]) == {}
    assert written(decide(replace(observed, profiles=(view(reported=(other,)),)), FleetMemory())[0])


def test_a_long_reason_is_cut() -> None:
    """What is written must be what is read back."""
    refused = view(latency=None, invalid="x" * 5000)
    (effect,) = written(decide(snapshot(profiles=(refused,)), FleetMemory())[0]).values()
    assert all(isinstance(each, ConditionValue) and len(each.message) <= 1024 for each in effect.conditions)
