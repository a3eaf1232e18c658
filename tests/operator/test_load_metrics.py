"""The load signal as Prometheus, and so an autoscaler, sees it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.samples import KEY
from turbospec.fleet.capacity import LoadSignal
from turbospec.fleet.load_memory import LoadKey, LoadMemory, UnknownLoad
from turbospec.fleet.scale_events import ScaleEvent, ScaleState
from turbospec.fleet.worth import UnknownWorth, Value, Worth
from turbospec_operator.metrics import Metrics

CHAT: LoadKey = ("team", "deployment/chat", KEY)
SIGNAL = LoadSignal(0.2, 0.7, 0.5, 700.0, pod_capacity_tokens_per_second=500.0, expected_tokens_per_second=800.0)
LABELS = (("namespace", "team"), ("profile_key", KEY), ("scale_target", "chat"), ("scale_target_kind", "deployment"))


def series(metrics: Metrics) -> dict[tuple[object, ...], float]:
    """Values of the load's series, by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if "scale_target" in sample.labels
    }


def test_the_load_is_exported_by_target_and_profile_key() -> None:
    metrics = Metrics()
    metrics.loads({CHAT: LoadMemory(0.0, signal=SIGNAL)})
    part = "turbospec_offered_load_ratio_part"
    assert series(metrics) == {
        ("turbospec_offered_load_ratio", *LABELS): 0.7,
        **{
            (part, *sorted((*LABELS, ("phase", phase)))): value
            for phase, value in (("prefill", 0.2), ("decode", 0.7), ("kv", 0.5))
        },
        ("turbospec_pod_capacity_tokens_per_second", *LABELS): 500.0,
        ("turbospec_demand_tokens_per_second", *LABELS): 700.0,
        ("turbospec_expected_load_ratio", *LABELS): 0.8,
        ("turbospec_expected_demand_tokens_per_second", *LABELS): 800.0,
        ("turbospec_expected_pods_at_full_load", *LABELS): 1.6,
    }


@pytest.mark.parametrize("after", [{}, {CHAT: LoadMemory(0.0, unknown=UnknownLoad.NO_READY_POD)}])
def test_what_is_no_longer_known_is_no_longer_exported(after: dict[LoadKey, LoadMemory]) -> None:
    """An autoscaler may not act on the load of pods that are gone, nor take unknown for nought."""
    metrics = Metrics()
    metrics.loads({CHAT: LoadMemory(0.0, signal=SIGNAL)})
    metrics.loads(after)
    names = {name for name, *_ in series(metrics)}
    assert names == ({"turbospec_offered_load_unknown"} if after else set())


def test_what_happens_to_replicas_is_one_series_per_target() -> None:
    metrics = Metrics()
    starting = ScaleEvent(ScaleState.UP_UNDER_WAY, "PodsStarting", "1 pods start beside 2.", 3)
    steady = ScaleEvent(ScaleState.STEADY, "MetricAtTarget", "chat has 3 replicas and wants 3.", 3)
    for event in (starting, steady):
        metrics.scale_events({("team", "deployment/chat"): event})
        ((name, *labels),) = series(metrics)
        assert name == "turbospec_scale_event"
        assert {("state", event.state), ("reason", event.reason), ("scale_target", "chat")} <= set(labels)


def test_what_is_saved_is_exported_beside_the_load() -> None:
    """In pods for the demand of now (1.4 at full load), at least and at most; nothing while either is not known."""
    metrics, load = Metrics(), {CHAT: LoadMemory(0.0, signal=SIGNAL)}
    value = Value(0.0, "profile-x", Worth(-1.0, 0.5))
    metrics.loads(load, {CHAT: value})
    saved = {key[1:]: pods for key, pods in series(metrics).items() if key[0] == "turbospec_replicas_saved"}
    assert saved == {
        tuple(sorted((*LABELS, ("bound", bound)))): pytest.approx(pods)
        for bound, pods in (("least", -0.7), ("most", 1.4))
    }
    unknown = Value(0.0, "profile-x", None, UnknownWorth.PENDING)
    for loads, values in ((load, {CHAT: unknown}), (load, {}), ({}, {CHAT: value})):
        metrics.loads(loads, values)
        assert not [name for name, *_ in series(metrics) if name == "turbospec_replicas_saved"]
