"""A profile that administrators share serves every namespace that has none of its own."""

import pytest

from tests.fleet.builders import KEY, conditions, jobs, latency_model, pod, policy, profile, pushes, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.profiles import fitting_profiles
from turbospec.fleet.snapshot import ProfileSource, ProfileView

PLACE = ("team", KEY)
SHARED = profile(namespace=None, name="h100-chat", latency=latency_model(1.5))


def test_engines_are_controlled_by_the_clusters_profile_and_nothing_is_measured() -> None:
    """In any namespace; the status names it as kubectl takes it."""
    effects, _ = decide(snapshot(profiles=(SHARED,)), FleetMemory())
    assert [push.latency for push in pushes(effects)] == [SHARED.latency]
    assert not jobs(effects)
    profiled = conditions(effects)["Profiled"]
    assert (profiled.status, profiled.reason) == ("True", "ProfileReady")
    assert "clusterspeculationprofile/h100-chat" in profiled.message


@pytest.mark.parametrize(
    ("views", "wanted"),
    [
        ((SHARED,), "clusterspeculationprofile/h100-chat"),
        ((SHARED, profile()), f"profile-{KEY}"),
        ((profile(name="by-hand"), SHARED), "by-hand"),
        ((SHARED, profile(namespace="elsewhere")), "clusterspeculationprofile/h100-chat"),
        ((profile(namespace="elsewhere"),), None),
        ((SHARED, profile(latency=None, invalid="no cells")), "clusterspeculationprofile/h100-chat"),
        ((profile(namespace=None, name="profile-ffff"),), "clusterspeculationprofile/profile-ffff"),
    ],
)
def test_the_namespaces_own_profile_wins_unless_it_was_refused(
    views: tuple[ProfileView, ...], wanted: str | None
) -> None:
    """Whatever the order; a cluster's profile may have any name."""
    for order in (views, views[::-1]):
        found = fitting_profiles(order, [PLACE]).get(PLACE)
        assert (None if found is None else found.name) == wanted


def test_a_refused_profile_of_the_cluster_keeps_nobody_from_measuring() -> None:
    """A tenant cannot correct it."""
    refused = profile(namespace=None, name="h100-chat", latency=None, invalid="no cells")
    effects, _ = decide(snapshot(profiles=(refused,)), FleetMemory())
    assert len(jobs(effects)) == 1
    existing = snapshot(
        policies=(policy(profile_source=ProfileSource.EXISTING),), profiles=(refused,), pods=(pod(), pod("b"))
    )
    effects, _ = decide(existing, FleetMemory())
    assert conditions(effects)["Profiled"].reason == "ProfileMissing"
