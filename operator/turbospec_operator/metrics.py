"""The operator's own Prometheus series."""

from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

import turbospec
from turbospec.fleet.effects import SetPolicyStatus
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.scale_events import ScaleEvent
from turbospec.fleet.snapshot import FleetSnapshot
from turbospec.fleet.worth import Value
from turbospec_operator.load_metrics import LoadMetrics
from turbospec_operator.snapshot_metrics import SnapshotMetrics

NO_VALUES: Mapping[LoadKey, Value] = MappingProxyType({})
ROUND_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All series, in a registry of their own; methods take what happened in the fleet's terms."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        info = Info("turbospec_operator_build", "Version of the operator.", registry=self._registry)
        info.info({"version": turbospec.__version__})
        self._rounds = Counter(
            "turbospec_operator_rounds", "Rounds of the fleet loop.", ["result"], registry=self._registry
        )
        self._seconds = Histogram(
            "turbospec_operator_round_seconds",
            "Duration of one round.",
            buckets=ROUND_BUCKETS,
            registry=self._registry,
        )
        self._effects = Counter(
            "turbospec_operator_effects", "Effects carried out.", ["kind", "result"], registry=self._registry
        )
        self._denied = Gauge(
            "turbospec_operator_denied_permissions", "Permissions that the operator lacks.", registry=self._registry
        )
        self._leader = Gauge("turbospec_operator_leader", "1 on the operator that leads.", registry=self._registry)
        policy = ["namespace", "policy"]
        self._engines = Gauge(
            "turbospec_policy_engines", "Engines of a policy by state.", [*policy, "state"], registry=self._registry
        )
        self._profile_engines = Gauge(
            "turbospec_policy_profile_engines",
            "Engines of a policy's status by the profile that they decide by; empty where there is none.",
            [*policy, "profile"],
            registry=self._registry,
        )
        self._draft_tokens = Gauge(
            "turbospec_policy_draft_tokens",
            "Draft tokens (K) in use, mean over the policy's engines.",
            policy,
            registry=self._registry,
        )
        self._condition = Gauge(
            "turbospec_policy_condition",
            "Status conditions: 1 is True, 0 is False, -1 is Unknown.",
            [*policy, "condition"],
            registry=self._registry,
        )
        self._running = Gauge(
            "turbospec_fleet_requests_running", "Requests running, from Prometheus.", policy, registry=self._registry
        )
        self._waiting = Gauge(
            "turbospec_fleet_requests_waiting", "Requests waiting, from Prometheus.", policy, registry=self._registry
        )
        self._prometheus = Counter(
            "turbospec_operator_prometheus_reads", "Reads of the fleet load.", ["result"], registry=self._registry
        )
        self._gauges = (
            self._engines,
            self._profile_engines,
            self._draft_tokens,
            self._condition,
            self._running,
            self._waiting,
        )
        self._snapshot = SnapshotMetrics(self._registry)
        self._load = LoadMetrics(self._registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def leads(self) -> None:
        """This operator leads."""
        self._leader.set(1)

    def round_ended(self, result: str, seconds: float) -> None:
        """A round took this long; ``result`` is done, skipped or error."""
        self._rounds.labels(result).inc()
        self._seconds.observe(seconds)

    def effect(self, kind: str, result: str) -> None:
        """An effect was carried out, or not."""
        self._effects.labels(kind, result).inc()

    def observed(self, snapshot: FleetSnapshot) -> None:
        """Series of policies that are gone go."""
        self._denied.set(len(snapshot.denied))
        self._snapshot.observed(snapshot)
        there = {(policy.namespace, policy.name) for policy in snapshot.policies}
        for gauge in self._gauges:
            for labels in [tuple(sample.labels.values()) for family in gauge.collect() for sample in family.samples]:
                if labels[:2] not in there:
                    gauge.remove(*labels)

    def policy_status(self, status: SetPolicyStatus) -> None:
        """What a policy's status says, as series."""
        where = (status.namespace, status.name)
        for gauge in (self._engines, self._profile_engines):
            gauge.remove_by_labels({"namespace": status.namespace, "policy": status.name})
        for engine in status.engines:
            self._engines.labels(*where, engine.reason).inc()
            self._profile_engines.labels(*where, engine.profile or "").inc()
        # A status has a bounded number of rows, and the engines that are not controlled come first.
        controlled = status.controlled - sum(engine.controlled for engine in status.engines)
        others = status.pods - len(status.engines) - controlled
        for state, beyond in (("Controlled", controlled), ("NotListed", others)):
            if beyond > 0:
                self._engines.labels(*where, state).inc(beyond)
        lengths = [engine.draft_tokens for engine in status.engines if engine.draft_tokens is not None]
        if lengths:
            self._draft_tokens.labels(*where).set(sum(lengths) / len(lengths))
        else:
            self._draft_tokens.remove(*where)
        # Some conditions are only there while they have something to say.
        self._condition.remove_by_labels({"namespace": status.namespace, "policy": status.name})
        for condition in status.conditions:
            value = {"True": 1, "False": 0}.get(condition.status, -1)
            self._condition.labels(*where, condition.type).set(value)

    def loads(self, loads: Mapping[LoadKey, LoadMemory], values: Mapping[LoadKey, Value] = NO_VALUES) -> None:
        """The load of every (namespace, scale target, profile key), and what speculation is worth to it; where that is
        not known there is no series."""
        self._load.loads(loads, values)

    def scale_events(self, events: Mapping[tuple[str, str], ScaleEvent]) -> None:
        """What is happening to every (namespace, scale target) that has pods."""
        self._load.scale_events(events)

    def fleet_load(self, namespace: str, policy: str, running: float, waiting: float) -> None:
        """Load of a policy's pods as Prometheus has it."""
        self._running.labels(namespace, policy).set(running)
        self._waiting.labels(namespace, policy).set(waiting)

    def prometheus_read(self, result: str) -> None:
        """Prometheus was asked for the fleet load; ``result`` is done or failed."""
        self._prometheus.labels(result).inc()
