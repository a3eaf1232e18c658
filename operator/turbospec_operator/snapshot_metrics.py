"""Prometheus series of what a round has seen: profiles, and what autoscalers make of their replicas."""

from prometheus_client import CollectorRegistry, Gauge

from turbospec.fleet.autoscalers import AutoscalerView
from turbospec.fleet.profiles import reference
from turbospec.fleet.snapshot import FleetSnapshot, ProfileView


class SnapshotMetrics:
    """Series of the last snapshot; those of what is gone go."""

    def __init__(self, registry: CollectorRegistry) -> None:
        profile = ["namespace", "profile", "profile_key"]
        self._usable = Gauge(
            "turbospec_profile_usable",
            "1 for a profile that can be used, 0 for a refused one. Cluster profiles have no namespace.",
            profile,
            registry=registry,
        )
        self._measured = Gauge(
            "turbospec_profile_measured_timestamp_seconds",
            "When a profile was measured, in seconds since the epoch.",
            profile,
            registry=registry,
        )
        self._error = Gauge(
            "turbospec_profile_hold_out_error_ratio",
            "Median relative error of a profile's fit on cells that it had not seen.",
            profile,
            registry=registry,
        )
        self._replicas = Gauge(
            "turbospec_scale_target_replicas",
            "Replicas of a scale target as its autoscaler has them: current, desired, min, max.",
            ["namespace", "scale_target_kind", "scale_target", "kind"],
            registry=registry,
        )
        self._gauges = (self._usable, self._measured, self._error, self._replicas)

    def observed(self, snapshot: FleetSnapshot) -> None:
        """Everything anew."""
        for gauge in self._gauges:
            gauge.clear()
        for profile in snapshot.profiles:
            self._profile(profile)
        for autoscaler in snapshot.autoscalers:
            self._autoscaler(autoscaler)

    def _profile(self, profile: ProfileView) -> None:
        # An empty namespace is exported as such: with honorLabels Prometheus then adds none of the operator's.
        labels = (profile.namespace or "", reference(profile), profile.key)
        self._usable.labels(*labels).set(profile.latency is not None)
        if profile.measured_seconds is not None:
            self._measured.labels(*labels).set(profile.measured_seconds)
        if profile.hold_out_error is not None:
            self._error.labels(*labels).set(profile.hold_out_error)

    def _autoscaler(self, autoscaler: AutoscalerView) -> None:
        kind, _, name = autoscaler.target.partition("/")
        counts = {
            "current": autoscaler.current,
            "desired": autoscaler.desired,
            "min": autoscaler.min_replicas,
            "max": autoscaler.max_replicas,
        }
        for count, replicas in counts.items():
            if replicas is not None:
                self._replicas.labels(autoscaler.namespace, kind, name, count).set(replicas)
