"""Series of what a round has seen: profiles, replicas, and engines beyond the rows of a status."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fleet.builders import KEY, NOW, pod, profile, snapshot
from tests.operator.test_views import profile as stored_profile
from tests.operator.test_views import stored
from turbospec.fleet.autoscalers import AutoscalerView
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import SetPolicyStatus
from turbospec_operator import views
from turbospec_operator.metrics import Metrics

HPA = AutoscalerView("team", "chat", "deployment/chat", "app=chat", 1, 8, 3, None)


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Values by the labels' values, in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_profiles_are_exported_with_what_is_known_of_them() -> None:
    """A profile of the cluster has no namespace; one that was refused, or does not say, has neither age nor error."""
    metrics = Metrics()
    own = profile(name="own", measured_seconds=NOW - 60, hold_out_error=0.02)
    shared = profile(namespace=None, name="shared")
    broken = profile(name="broken", latency=None, invalid="no cells")
    metrics.observed(snapshot(profiles=(own, shared, broken)))
    cluster = ("", "clusterspeculationprofile/shared", KEY)
    assert series(metrics, "turbospec_profile_usable") == {
        ("team", "own", KEY): 1.0,
        cluster: 1.0,
        ("team", "broken", KEY): 0.0,
    }
    assert series(metrics, "turbospec_profile_measured_timestamp_seconds") == {("team", "own", KEY): NOW - 60}
    assert series(metrics, "turbospec_profile_hold_out_error_ratio") == {("team", "own", KEY): 0.02}
    metrics.observed(snapshot(profiles=()))
    assert series(metrics, "turbospec_profile_usable") == {}


def test_the_error_is_what_the_resource_says() -> None:
    """In permille there, a ratio here."""
    raw = stored(stored_profile())
    assert raw["spec"]["holdOutErrorPermille"] == 20
    assert views.profile_view(raw).hold_out_error == 0.02
    del raw["spec"]["holdOutErrorPermille"]
    assert views.profile_view(raw).hold_out_error is None


def test_replicas_are_those_of_the_autoscaler() -> None:
    """What it has not said yet is not exported."""
    metrics = Metrics()
    metrics.observed(snapshot(autoscalers=(HPA,)))
    name, where = "turbospec_scale_target_replicas", ("team", "chat", "deployment")
    counts = {"current": 3.0, "min": 1.0, "max": 8.0}
    assert series(metrics, name) == {(kind, *where): count for kind, count in counts.items()}
    metrics.observed(snapshot(autoscalers=(replace(HPA, desired=5),)))
    assert series(metrics, name)["desired", *where] == 5.0


def status_of() -> SetPolicyStatus:
    """A status as decided for two engines with a profile and one pod without the runtime."""
    pods = (pod("chat-0"), pod("chat-1"), pod("chat-2", injected=False, report=None))
    effects, _ = decide(snapshot(pods=pods, profiles=(profile(name="own"),)), FleetMemory())
    (status,) = [effect for effect in effects if isinstance(effect, SetPolicyStatus)]
    return status


@pytest.mark.parametrize(
    ("pods", "controlled", "beyond"),
    [
        (3, 0, {}),
        (9, 6, {"Controlled": 6.0}),
        (9, 0, {"NotListed": 6.0}),
        (9, 2, {"Controlled": 2.0, "NotListed": 4.0}),
    ],
)
def test_engines_beyond_the_rows_of_a_status_are_counted(pods: int, controlled: int, beyond: dict[str, float]) -> None:
    """A status has a bounded number of rows: what it says of all engines together says what the others are."""
    metrics = Metrics()
    metrics.policy_status(replace(status_of(), pods=pods, controlled=controlled))
    expected = {"Pending": 2.0, "NotInjected": 1.0} | beyond
    assert series(metrics, "turbospec_policy_engines") == {
        ("team", "chat", state): count for state, count in expected.items()
    }


def test_engines_are_counted_by_the_profile_that_they_decide_by() -> None:
    """None is said as such."""
    metrics = Metrics()
    metrics.policy_status(status_of())
    assert series(metrics, "turbospec_policy_profile_engines") == {
        ("team", "chat", "own"): 2.0,
        ("team", "chat", ""): 1.0,
    }
