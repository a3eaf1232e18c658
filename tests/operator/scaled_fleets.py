"""Deployments under the real HorizontalPodAutoscaler: pods are Ready when a test says so, and their load is what our
operator would export of it."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.operator.samples import KEY
from tests.support.apiserver import ApiServer
from turbospec.fleet.capacity import Attainable, load_signal
from turbospec.fleet.demand import Demand, Lengths
from turbospec.fleet.load_memory import LoadKey, LoadMemory, UnknownLoad
from turbospec_operator.cluster import HPAS, PODS, Cluster, Kind, NotFoundError, Raw
from turbospec_operator.metrics import Metrics

DEPLOYMENTS = Kind("apps/v1", "deployments", "Deployment")
SYNC_SECONDS = 0.5
"""In place of 15 s, so a second here is half a minute."""
LOOK_SECONDS = 0.1
WAIT_SECONDS = 40.0

POD = Attainable(prefill=12.0, decode=5.0, kv=9.0)
LENGTHS = Lengths(prompt_tokens=200.0, prefill_tokens=200.0, output_tokens=100.0)
LABELS = {"app": "chat"}

QUICKER = 15.0 / SYNC_SECONDS
FREELY = {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 1}]}
"""Limits that are far away: what is asked for shows as it is."""
DOWN_SECONDS = 2


def quicker(behavior: Raw) -> Raw:
    """The same in the time of these tests: windows are as many syncs long as in production, but on the way down."""
    known = behavior.get("scaleUp", {}).get("stabilizationWindowSeconds", 0)
    return {
        "scaleUp": {"stabilizationWindowSeconds": round(known / QUICKER), **FREELY},
        "scaleDown": {"stabilizationWindowSeconds": DOWN_SECONDS, **FREELY},
    }


@dataclass
class Fleet:
    """One Deployment in a namespace of its own.

    ``load`` is the work that comes, in pods at full load; None while that is not known. ``scrape_seconds`` is how old
    the load may be when an autoscaler reads it, ``start_seconds`` how long pods take to be Ready. ``replicas`` were
    asked for so far, one after the other. ``looks`` counts how often its autoscaler has looked.
    """

    namespace: str
    looks: Callable[[], int]
    hpa_name: str = "chat"
    start_seconds: float = 0.3
    scrape_seconds: float = 0.0
    load: float | None = None
    ready: int = 0
    replicas: list[int] = field(default_factory=list)
    hpa: Raw = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)
    _scraped: tuple[float, LoadMemory] | None = None

    def memory(self) -> LoadMemory:
        """The load as it was last scraped."""
        now = time.monotonic()
        if self._scraped is None or now - self._scraped[0] >= self.scrape_seconds:
            self._scraped = now, self._memory()
        return self._scraped[1]

    def _memory(self) -> LoadMemory:
        if self.load is None:
            return LoadMemory(0.0, unknown=UnknownLoad.NOT_REPORTED)
        signal = load_signal(Demand(self.load * POD.requests_per_second), LENGTHS, [POD] * self.ready)
        return LoadMemory(0.0, signal=signal, unknown=None if signal else UnknownLoad.NO_READY_POD)

    async def look(self, cluster: Cluster) -> None:
        """As the kubelet: pods that are old enough are Ready."""
        pods, now = await cluster.list(PODS, self.namespace), time.monotonic()
        for pod in pods:
            self._seen.setdefault(pod["metadata"]["uid"], now)
        starting = [pod for pod in pods if (pod.get("status") or {}).get("phase") != "Running"]
        due = [pod for pod in starting if now - self._seen[pod["metadata"]["uid"]] >= self.start_seconds]
        self.ready = len(pods) - len(starting) + len(due)
        await asyncio.gather(*(_make_ready(cluster, pod) for pod in due))
        deployment = await cluster.get(DEPLOYMENTS, self.namespace, "chat")
        if self.replicas[-1:] != [deployment["spec"]["replicas"]]:
            self.replicas.append(deployment["spec"]["replicas"])
        with contextlib.suppress(NotFoundError):  # KEDA makes it in its own time
            self.hpa = await cluster.get(HPAS, self.namespace, self.hpa_name)

    def condition(self, kind: str) -> str:
        """Status of a condition of the autoscaler."""
        conditions = (self.hpa.get("status") or {}).get("conditions") or []
        return next((str(each["status"]) for each in conditions if each["type"] == kind), "")

    async def syncs(self, count: int) -> None:
        """Until the autoscaler has looked so many times more."""
        until = self.looks() + count
        await self._wait(lambda: self.looks() >= until, f"{count} syncs")

    async def rests_at(self, replicas: int, syncs: int = 4) -> None:
        """Until there are so many Ready; and it must stay so, for as many syncs."""
        await self._wait(lambda: self.replicas[-1] == self.ready == replicas, f"{replicas} replicas")
        await self.syncs(syncs)
        assert self.replicas[-1] == replicas, self._said()

    async def _wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what}: not within {WAIT_SECONDS:.0f} s; {self._said()}"
            await asyncio.sleep(LOOK_SECONDS)

    def _said(self) -> str:
        return f"replicas {self.replicas}, {self.ready} Ready, load {self.load}, {self.hpa.get('status')}"


@dataclass
class World:
    """The API server, its controllers and the external metrics of all fleets in it."""

    api: ApiServer
    fleets: "Fleets"
    looks: Callable[[str], int]
    autoscaler: Callable[[str, str], tuple[Kind, Raw]]
    """Of an example in a namespace."""
    hpa_name: str = "chat"

    @contextlib.asynccontextmanager
    async def fleet(self, example: str, replicas: int, **how: Any) -> AsyncIterator[Fleet]:
        """A fleet of so many Ready pods that are loaded to 0.8, which is where the example's autoscaler wants them."""
        namespace = f"scaled-{secrets.token_hex(4)}"
        fleet = Fleet(namespace, lambda: self.looks(namespace), self.hpa_name, **how)
        self.fleets.all.append(fleet)
        async with await Cluster.connect(self.api.kubeconfig) as cluster:
            self.api.create_namespace(namespace)
            await cluster.create(DEPLOYMENTS, namespace, _deployment(replicas))
            kind, body = self.autoscaler(example, namespace)
            await cluster.create(kind, namespace, body)
            async with _kept_up(lambda: fleet.look(cluster)):
                await fleet.rests_at(replicas, syncs=1)
                fleet.load = 0.8 * replicas
                yield fleet
        self.fleets.all.remove(fleet)


@dataclass
class Fleets:
    """All that the operator would see."""

    all: list[Fleet] = field(default_factory=list)

    def exposition(self) -> str:
        """The operator's ``/metrics``."""
        metrics = Metrics()
        loads: dict[LoadKey, LoadMemory] = {
            (fleet.namespace, "deployment/chat", KEY): fleet.memory() for fleet in list(self.all)
        }
        metrics.loads(loads)
        return metrics.text().decode()


def _deployment(replicas: int) -> Raw:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "vllm", "image": "vllm"}]}},
        },
    }


async def _make_ready(cluster: Cluster, pod: Raw) -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    with contextlib.suppress(NotFoundError):  # it was removed meanwhile
        await cluster.patch_status(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], {"status": status})


@contextlib.asynccontextmanager
async def _kept_up(look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Looks again and again within the block, once before it begins."""
    await look()

    async def again() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await look()

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(again())
        yield
        looking.cancel()
