"""Asks engines for the step times that they have measured while serving, where a policy lets profiles grow."""

import asyncio
import logging
import time
from collections.abc import Container, Iterable, Mapping, Sequence

from turbospec.control.served_cells import ServedCell
from turbospec.fleet.profiles import ProfileKey
from turbospec.fleet.snapshot import PodView, PolicyView, ProfileSource
from turbospec_operator.engines import EngineClient, EngineEndpoint, EngineError

log = logging.getLogger(__name__)

CELLS_SECONDS = 60.0
"""How often one engine is asked: profiles are written every five minutes at most."""

ENGINES_PER_KEY = 64
"""Engines of one key that are asked: what they have seen between them, more would hardly add to."""

ENGINES_PER_ROUND = 50
"""Bounds what one round of two seconds reads: 20 KB each."""


class ServedCellsReader:
    """Keeps the last answer of every engine that is still there."""

    def __init__(self, engines: EngineClient) -> None:
        self._engines = engines
        self._known: dict[str, tuple[float, tuple[ServedCell, ...]]] = {}

    async def read(
        self,
        pods: Sequence[PodView],
        policies: Sequence[PolicyView],
        endpoints: Mapping[str, EngineEndpoint],
        forbidden: Container[ProfileKey] = (),
    ) -> Mapping[str, tuple[ServedCell, ...]]:
        """By pod uid. An engine that does not answer keeps its last cells until the next time.

        ``forbidden``: keys whose Jobs may not be created, so that source Job is Serving.
        """
        wanted = _chosen(pod for pod in pods if any(_grows(pod, each, forbidden) for each in policies))
        self._known = {uid: known for uid, known in self._known.items() if uid in wanted}
        now = time.monotonic()
        due = [uid for uid in wanted if uid not in self._known or now - self._known[uid][0] >= CELLS_SECONDS]
        due.sort(key=lambda uid: (self._known[uid][0] if uid in self._known else 0.0, uid))
        await asyncio.gather(*(self._ask(uid, endpoints[uid], now) for uid in due[:ENGINES_PER_ROUND]))
        return {uid: cells for uid, (_, cells) in self._known.items()}

    async def _ask(self, uid: str, endpoint: EngineEndpoint, now: float) -> None:
        cells = self._known[uid][1] if uid in self._known else ()
        try:
            cells = await self._engines.cells(endpoint)
        except EngineError as error:
            # Older runtimes do not know the path; the engine's standing says whether it can be reached at all.
            log.debug("cells of %s:%d: %s", endpoint.host, endpoint.port, error)
        self._known[uid] = now, cells


def _chosen(pods: Iterable[PodView]) -> set[str]:
    """The same engines as long as they are there."""
    by_key: dict[tuple[str, str], list[str]] = {}
    for pod in pods:
        if pod.report is not None:
            by_key.setdefault((pod.namespace, pod.report.profile_key), []).append(pod.uid)
    return {uid for uids in by_key.values() for uid in sorted(uids)[:ENGINES_PER_KEY]}


def _grows(pod: PodView, policy: PolicyView, forbidden: Container[ProfileKey]) -> bool:
    without_job = pod.report is not None and (pod.namespace, pod.report.profile_key) in forbidden
    return (
        (policy.profile_source is ProfileSource.SERVING or (policy.profile_source is ProfileSource.JOB and without_job))
        and policy.invalid is None
        and policy.namespace == pod.namespace
        and set(policy.match_labels) <= set(pod.labels)
    )
