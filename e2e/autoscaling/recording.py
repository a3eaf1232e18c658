"""What happened on the ramp, every two seconds, as the operator, Kubernetes and the engines say it."""

import asyncio
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from e2e.autoscaling.external_metrics import RATIO
from e2e.autoscaling.open_load import Answered, Points, rate_at
from e2e.demo import stack
from e2e.demo.engines import Engine, Engines, find_engines
from e2e.demo.kube import Kube, is_ready
from e2e.demo.place import Place
from e2e.demo.samples import summarise
from e2e.manifests.serving import DEPLOYMENT, NAMESPACE

LOOK_SECONDS = 2.0
READ_SECONDS = 5.0


@dataclass(frozen=True)
class Moment:
    """Means since the moment before. ``draft_tokens`` and ``batch`` are means over decoding steps of all pods, None
    where nothing decoded; ratios are None while they are not known. ``replicas`` are asked for, ``ready`` serve."""

    second: float
    requests_per_second: float
    replicas: int
    ready: int
    ratio: float | None
    expected_ratio: float | None
    draft_tokens: float | None
    batch: float | None


@dataclass
class Recording:
    """A ramp from its first second on."""

    moments: list[Moment] = field(default_factory=list)
    answered: Answered = field(default_factory=Answered)

    def changes(self) -> list[tuple[float, int]]:
        """(second, replicas) from the first number on."""
        first, *_ = self.moments
        later = [(b.second, b.replicas) for a, b in pairwise(self.moments) if a.replicas != b.replicas]
        return [(first.second, first.replicas), *later]

    def mean_draft_tokens(self, holds: Callable[[Moment], bool]) -> float:
        """K over the moments that are meant, each as long as any other."""
        found = [each.draft_tokens for each in self.moments if each.draft_tokens is not None and holds(each)]
        return sum(found) / len(found)


class Recorder:
    """Reads the cluster in threads, for the load's clock must not wait for it."""

    def __init__(self, place: Place, kube: Kube, read: Callable[[], str], points: Points) -> None:
        self.recording = Recording()
        self._place, self._kube, self._read, self._points = place, kube, read, points
        self._engines: dict[str, Engine] = {}

    async def run(self) -> None:
        """Until cancelled."""
        began = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READ_SECONDS), trust_env=False) as session:
            while True:
                second = time.monotonic() - began
                self.recording.moments.append(await self._look(session, second))
                await asyncio.sleep(max(0.0, began + second + LOOK_SECONDS - time.monotonic()))

    async def _look(self, session: aiohttp.ClientSession, second: float) -> Moment:
        engines, replicas, ready, text = await asyncio.to_thread(self._ask)
        steps = summarise(
            [row for rows in await asyncio.gather(*(_steps(each, session) for each in engines)) for row in rows]
        )
        return Moment(
            second=second,
            requests_per_second=rate_at(self._points, second),
            replicas=replicas,
            ready=ready,
            ratio=_series(text, "turbospec_offered_load_ratio"),
            expected_ratio=_series(text, RATIO),
            draft_tokens=steps.mean_draft_tokens,
            batch=steps.mean_batch,
        )

    def _ask(self) -> tuple[Sequence[Engine], int, int, str]:
        ready = {pod.metadata.name for pod in self._kube.pods(NAMESPACE, stack.LABELS) if is_ready(pod)}
        for engine in find_engines(self._kube, NAMESPACE, stack.LABELS, self._place.address):
            if engine.pod in ready:
                self._engines.setdefault(engine.pod, engine)
        deployment = self._kube.apps.read_namespaced_deployment(DEPLOYMENT, NAMESPACE)
        answering = [self._engines[pod] for pod in sorted(ready & self._engines.keys())]
        return answering, deployment.spec.replicas, deployment.status.ready_replicas or 0, self._read()


def scrape(url: str) -> str:
    """An exposition. Raises OSError where nobody answers."""
    with urllib.request.urlopen(url, timeout=READ_SECONDS) as answer:  # noqa: S310 (our own operator, over http)
        text: str = answer.read().decode()
        return text


async def _steps(engine: Engine, session: aiohttp.ClientSession) -> list[dict[str, object]]:
    """What it has done since it was last asked; nothing of one that has just gone."""
    try:
        return await Engines([engine], session).new_steps()
    except (aiohttp.ClientError, TimeoutError):
        return []


def _series(text: str, name: str) -> float | None:
    values = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]
    return max(values, default=None)
