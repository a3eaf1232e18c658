"""Fleet load from Prometheus, where there is one: gateways and dashboards count there, and so does the operator.

Nothing is decided from it yet; it is exported beside what the engines report themselves.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from turbospec.fleet.snapshot import FleetSnapshot, PodView, PolicyView
from turbospec_operator.metrics import Metrics

log = logging.getLogger(__name__)

REQUEST_SECONDS = 5
"""The client is synchronous and runs in a thread; this bounds how long that thread is held."""

RUNNING = "sum by (namespace, pod) (vllm:num_requests_running)"
WAITING = "sum by (namespace, pod) (vllm:num_requests_waiting)"

Query = Callable[[str], Sequence[Mapping[str, Any]]]
PodLoad = dict[tuple[str, str], float]


class PrometheusLoad:
    """Reads running and waiting requests of every policy's pods, at most once per interval and never twice at once."""

    def __init__(self, query: Query, interval_seconds: float, metrics: Metrics) -> None:
        self._query = query
        self._interval = interval_seconds
        self._metrics = metrics
        self._asked_at: float | None = None
        self._said: str | None = None

    @classmethod
    def at(cls, url: str, interval_seconds: float, metrics: Metrics) -> "PrometheusLoad":
        """Ask the Prometheus at this address; without retries, because the next interval asks anyway."""
        client = PrometheusConnect(url=url, timeout=REQUEST_SECONDS, retry=Retry(total=0))
        return cls(client.custom_query, interval_seconds, metrics)

    def due(self) -> bool:
        """Whether the interval has passed since the last read began."""
        return self._asked_at is None or time.monotonic() - self._asked_at >= self._interval

    async def read(self, snapshot: FleetSnapshot) -> None:
        """Update the series; a Prometheus that does not answer changes nothing and is said once."""
        self._asked_at = time.monotonic()
        try:
            running = pod_load(await asyncio.to_thread(self._query, RUNNING))
            waiting = pod_load(await asyncio.to_thread(self._query, WAITING))
        except (requests.RequestException, PrometheusApiClientException, KeyError, TypeError, ValueError) as error:
            self._metrics.prometheus_read("failed")
            self._say(f"{type(error).__name__}: {' '.join(str(error).split())}")
            return
        self._metrics.prometheus_read("done")
        self._say(None)
        for policy in snapshot.policies:
            pods = [pod for pod in snapshot.pods if selects(policy, pod)]
            loads = [(running.get(name), waiting.get(name, 0.0)) for pod in pods if (name := (pod.namespace, pod.name))]
            known = [(run, wait) for run, wait in loads if run is not None]
            # A fleet that Prometheus does not know is unknown, not idle.
            if known:
                totals = sum(run for run, _ in known), sum(wait for _, wait in known)
                self._metrics.fleet_load(policy.namespace, policy.name, *totals)

    def _say(self, problem: str | None) -> None:
        if problem == self._said:
            return
        self._said = problem
        if problem is None:
            log.info("Prometheus answers")
        else:
            log.warning("fleet load is not read from Prometheus: %s", problem)


def pod_load(series: Sequence[Mapping[str, Any]]) -> PodLoad:
    """Values of an instant vector by (namespace, pod); series without these labels belong to no pod of ours."""
    found: PodLoad = {}
    for each in series:
        labels = each["metric"]
        if "namespace" in labels and "pod" in labels:
            found[labels["namespace"], labels["pod"]] = float(each["value"][1])
    return found


def selects(policy: PolicyView, pod: PodView) -> bool:
    """Whether a policy's selector matches a pod."""
    return policy.invalid is None and policy.namespace == pod.namespace and set(policy.match_labels) <= set(pod.labels)
