"""What an autoscaler can read of a fleet, and how Prometheus would have it: gauges, and rates over a minute."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from turbospec.simulation.fleet.arrivals import Day
from turbospec.simulation.fleet.files import MetricName
from turbospec.simulation.fleet.hpa import Form, Reading
from turbospec.simulation.fleet.replica import Replica
from turbospec.simulation.fleet.serving import Serving

RATE_WINDOWS = 4
"""Syncs of 15 s that a rate or a histogram's mean is taken over: rate(...[1m])."""


@dataclass(slots=True)
class PodWindow:
    """Sums of one pod since the last sync."""

    ticks: int = 0
    running: float = 0.0
    kv_usage: float = 0.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Tokens that are still to be prefilled, and still to be generated, by all replicas."""

    prefill: float
    decode: float


def backlog(day: Day, gateway: Iterable[int], serving: Serving, mean_output: float) -> Backlog:
    """As a gateway counts it: prompts that are not computed, outputs of mean length that are not there yet."""
    queued = list(gateway)
    prefill, decode = float(day.prompt[queued].sum() if queued else 0), float(len(queued))
    for replica in serving.replicas.values():
        prompts = day.prompt[list(replica.waiting)].sum() if replica.waiting else 0
        prefill += float(prompts) + sum(entry[2] - entry[1] for entry in replica.prefilling)
        decode += len(replica.waiting) + len(replica.prefilling)
    generated, _ = serving.generated()
    return Backlog(prefill, decode * mean_output + float(np.maximum(mean_output - generated, 0.0).sum()))


class Signal(Protocol):
    """The load of the whole fleet, worked out by somebody else; None while it is not known."""

    def value(self) -> float | None:
        """Over what the ready pods can do now."""
        ...

    def expected_pods(self) -> float | None:
        """In pods at full load, when one that is asked for now would be Ready."""
        ...


@dataclass
class Telemetry:
    """Adds up what the ready pods do; ``read`` is called at each sync of the autoscaler."""

    signal: Signal | None = None
    _pods: dict[str, PodWindow] = field(default_factory=dict)
    _tokens: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RATE_WINDOWS))
    _seconds: float = 0.0
    _samples: float = 0.0

    def tick(self, ready: Mapping[str, Replica]) -> None:
        """A macro step has passed."""
        for name, replica in ready.items():
            window = self._pods.get(name)
            if window is None:
                window = self._pods[name] = PodWindow()
            window.ticks += 1
            window.running += replica.running + len(replica.prefilling)
            window.kv_usage += replica.kv_tokens / replica.spec.kv_cache_tokens
            self._seconds += replica.token_seconds
            self._samples += replica.token_samples
            replica.token_seconds = replica.token_samples = 0.0

    def read(
        self, metric: MetricName, target: float, backlog: Callable[[], Backlog], prefill_target: float
    ) -> Sequence[Reading]:
        """The readings of an HPA on this metric, and a new window; ``backlog`` is asked only where it is the metric."""
        pods, self._pods = self._pods, {}
        self._tokens.append((self._seconds, self._samples))
        self._seconds = self._samples = 0.0
        match metric:
            case MetricName.RUNNING_REQUESTS:
                by_pod = {name: window.running / window.ticks for name, window in pods.items()}
                return (Reading(Form.PODS, target, by_pod=by_pod),)
            case MetricName.KV_CACHE_USAGE:
                by_pod = {name: window.kv_usage / window.ticks for name, window in pods.items()}
                return (Reading(Form.PODS, target, by_pod=by_pod),)
            case MetricName.INTER_TOKEN_LATENCY:
                samples = sum(count for _, count in self._tokens)
                mean = sum(seconds for seconds, _ in self._tokens) / samples * 1e3 if samples else None
                return (Reading(Form.VALUE, target, mean),)
            case MetricName.TOKEN_BACKLOG:
                there = backlog()
                return (
                    Reading(Form.AVERAGE_VALUE, prefill_target, there.prefill),
                    Reading(Form.AVERAGE_VALUE, target, there.decode),
                )
            case MetricName.OFFERED_LOAD_RATIO:
                return (Reading(Form.VALUE, target, None if self.signal is None else self.signal.value()),)
            case MetricName.EXPECTED_PODS | MetricName.WANTED_PODS:
                expected = None if self.signal is None else self.signal.expected_pods()
                if metric is MetricName.WANTED_PODS and expected is not None:
                    target, expected = 1.0, float(math.ceil(expected / target))
                return (Reading(Form.AVERAGE_VALUE, target, expected),)
