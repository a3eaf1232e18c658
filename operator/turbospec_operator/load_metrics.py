"""Prometheus series of the load signal, which autoscalers read, and of what happens to replicas, and what they save."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.scale_events import ScaleEvent
from turbospec.fleet.worth import Value, replicas_saved


class LoadMetrics:
    """Series of the last round, by scale target; those of what is gone go."""

    def __init__(self, registry: CollectorRegistry) -> None:
        load = ["namespace", "scale_target_kind", "scale_target", "profile_key"]
        self._load_ratio = Gauge(
            "turbospec_offered_load_ratio",
            "Offered over attainable work, whatever K is in force; 1 is all that the pods can do.",
            load,
            registry=registry,
        )
        self._load_part = Gauge(
            "turbospec_offered_load_ratio_part",
            "Offered over attainable work by phase: prefill, decode, kv.",
            [*load, "phase"],
            registry=registry,
        )
        self._capacity = Gauge(
            "turbospec_pod_capacity_tokens_per_second",
            "Output tokens per second that one pod can deliver at its best allowed K under the objective.",
            load,
            registry=registry,
        )
        self._demand = Gauge(
            "turbospec_demand_tokens_per_second",
            "Output tokens per second that are asked for: arrivals times lengths, and what waits, drained in a minute.",
            load,
            registry=registry,
        )
        self._expected_ratio = Gauge(
            "turbospec_expected_load_ratio",
            "The ratio of offered over attainable work when a pod that is asked for now would be Ready.",
            load,
            registry=registry,
        )
        self._expected_demand = Gauge(
            "turbospec_expected_demand_tokens_per_second",
            "Output tokens per second that will be asked for when a pod that is asked for now would be Ready.",
            load,
            registry=registry,
        )
        self._expected_pods = Gauge(
            "turbospec_expected_pods_at_full_load",
            "Expected demand over the capacity of one pod: so many pods at ratio 1 it takes.",
            load,
            registry=registry,
        )
        self._load_unknown = Gauge(
            "turbospec_offered_load_unknown",
            "1 where the load is not known, with the reason; the other series of that target are then absent.",
            [*load, "reason"],
            registry=registry,
        )
        self._replicas_saved = Gauge(
            "turbospec_replicas_saved",
            "Pods that the demand of now would take more without the drafter, all at full load; bound: least, most. "
            "Below 0 it would take fewer.",
            [*load, "bound"],
            registry=registry,
        )
        self._scale_event = Gauge(
            "turbospec_scale_event",
            "1 for what is happening to the replicas of a scale target: state and reason.",
            ["namespace", "scale_target_kind", "scale_target", "state", "reason"],
            registry=registry,
        )
        self._gauges = (
            self._load_unknown,
            self._load_ratio,
            self._load_part,
            self._capacity,
            self._demand,
            self._expected_ratio,
            self._expected_demand,
            self._expected_pods,
            self._replicas_saved,
        )

    def loads(self, loads: Mapping[LoadKey, LoadMemory], values: Mapping[LoadKey, Value]) -> None:
        """The load of every (namespace, scale target, profile key), and what speculation is worth to it; where that is
        not known there is no series."""
        for gauge in self._gauges:
            gauge.clear()
        for key, entry in loads.items():
            namespace, target, profile_key = key
            # Two labels, for a Kubernetes label selector, as external metrics take one, knows no slash in a value.
            kind, _, name = target.partition("/")
            labels, signal = (namespace, kind, name, profile_key), entry.signal
            if signal is None:
                self._load_unknown.labels(*labels, entry.unknown or "").set(1)
                continue
            self._load_ratio.labels(*labels).set(signal.ratio)
            for phase in ("prefill", "decode", "kv"):
                self._load_part.labels(*labels, phase).set(getattr(signal, phase))
            self._capacity.labels(*labels).set(signal.pod_capacity_tokens_per_second)
            self._demand.labels(*labels).set(signal.demand_tokens_per_second)
            self._expected_ratio.labels(*labels).set(signal.expected_ratio)
            self._expected_demand.labels(*labels).set(signal.expected_tokens_per_second)
            self._expected_pods.labels(*labels).set(signal.expected_pods)
            worth = values[key].worth if key in values else None
            if worth is not None:
                for bound, pods in zip(("least", "most"), replicas_saved(worth, signal), strict=True):
                    self._replicas_saved.labels(*labels, bound).set(pods)

    def scale_events(self, events: Mapping[tuple[str, str], ScaleEvent]) -> None:
        """What is happening to every (namespace, scale target) that has pods."""
        self._scale_event.clear()
        for (namespace, target), event in events.items():
            kind, _, name = target.partition("/")
            self._scale_event.labels(namespace, kind, name, event.state, event.reason).set(1)
