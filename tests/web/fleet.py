"""A cluster under a scripted load, and its dashboard: what the tests of the web pages and the docs' pictures share."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from typing import Any

from tests.cli.fleet_samples import condition, policy
from tests.cli.samples import NAME, stored
from turbospec.cli.errors import CommandError
from turbospec.cli.profile.compare import goodputs
from turbospec.cli.profile.files import profile_of
from turbospec.cli.web.looking import INTERVAL_SECONDS, Look, Looker
from turbospec.cli.web.server import listening, serving

Raw = dict[str, Any]

STORED, SHARED = stored(), stored("shared", None)
MODEL = profile_of(STORED, "sample").model
KS = (0, 1, 3, 5)
CONTEXT = 300.0
HARDWARE = "cpu / AMD EPYC / 2 CPUs"
BEGIN = 1_800_000_000.0
"""Seconds since 1970: an evening of January 2027."""
PERIOD_SECONDS = 800.0
MOST_BATCH = 32
UNREADABLE = stored("typed-by-hand", "team", key="0" * 16)


@cache
def predicted(batch: int, acceptance: int) -> dict[int, int]:
    """Tokens per second of every K by the profile of the docs."""
    found = goodputs(MODEL, KS, batch, CONTEXT, acceptance / 100)
    return {each.draft_tokens: round(each.tokens_per_second or 0.0) for each in found}


def best(batch: int, acceptance: int) -> int:
    """K of the highest."""
    rates = predicted(batch, acceptance)
    return max(rates, key=rates.__getitem__)


@cache
def schedule(acceptance: int) -> list[Raw]:
    """K by batch, as in a status."""
    ranges: list[Raw] = []
    for batch in range(1, MOST_BATCH + 1):
        k = best(batch, acceptance)
        if ranges and ranges[-1]["draftTokens"] == k:
            ranges[-1]["toBatch"] = batch
        else:
            ranges.append({"fromBatch": batch, "toBatch": batch, "draftTokens": k})
    return ranges


class Fleet:
    """Stands in for the two clients.

    ``error`` is what the next look fails with; engines in ``lost`` are not heard; who lists kinds in ``unseen`` is
    refused; ``message`` and ``advice`` stand in the statuses.
    """

    def __init__(self) -> None:
        self.now = BEGIN
        self.error: CommandError | None = None
        self.lost: set[str] = set()
        self.message = ""
        self.advice = ""
        self.unseen: set[str] = set()

    def profiles(self, _namespace: str | None) -> list[Raw]:
        """One of the namespace that can be used, and one that cannot."""
        self._refuse("speculationprofiles")
        return [STORED, UNREADABLE]

    def cluster_profiles(self) -> list[Raw]:
        """One of the cluster."""
        self._refuse("clusterspeculationprofiles")
        return [SHARED]

    def looker(self, looks: int = 1, where: str | None = "team") -> Looker:
        """One that has looked so many times, five seconds apart."""
        looker = Looker(self, self, where, lambda: self.now)  # type: ignore[arg-type]  # it asks for these three alone
        for _ in range(looks - 1):
            self.now += INTERVAL_SECONDS
            looker.again()
        return looker

    def list(self, _path: str, **_query: str) -> list[Raw]:
        """The policies, as their statuses are now."""
        if self.error is not None:
            raise self.error
        return [self._policy("chat", ("chat-6b9f-0", "chat-6b9f-1", "chat-6b9f-2")), self._policy("code", ("code-0",))]

    def _refuse(self, plural: str) -> None:
        if plural in self.unseen:
            raise CommandError(
                f"cannot list {plural}: not allowed. Ask the cluster's administrator for that permission"
            )

    def _policy(self, name: str, pods: tuple[str, ...]) -> Raw:
        rows = [self._engine(pod, name, number) for number, pod in enumerate(pods)]
        well = not self.lost.intersection(pods)
        controlled = sum(row["controlled"] for row in rows)
        ks = sorted({row["draftTokens"] for row in rows if row["controlled"]})
        span = "-".join(map(str, ks[:: max(len(ks) - 1, 1)])) or None
        said = self.message or f"{controlled}/{len(rows)} engines controlled."
        reason = "AllEnginesControlled" if well else "EngineUnreachable"
        conditions = [condition("Ready", "True" if well else "False", reason, said)]
        if self.advice:
            conditions.append(condition("Advised", "True", "Advised", self.advice))
        return policy(
            name, pods=len(rows), controlled=controlled, draftTokens=span,
            profile=NAME, conditions=conditions, engines=rows,
        )  # fmt: skip

    def _engine(self, pod: str, name: str, number: int) -> Raw:
        if pod in self.lost:
            return {"pod": pod, "controlled": False, "reason": "EngineUnreachable", "message": "cannot be reached."}
        turn = 2 * math.pi * ((self.now - BEGIN) / PERIOD_SECONDS + number / 3)
        batch = max(1, round((9 if name == "chat" else 4) * (1.0 + math.sin(turn))))
        acceptance = round(60 + 25 * math.cos(turn)) if name == "chat" else 85
        rates = predicted(batch, acceptance)
        k = best(batch, acceptance)
        return {
            "pod": pod, "node": f"node-{number}", "controlled": True, "draftTokens": k, "batch": batch,
            "acceptancePercent": acceptance, "profile": NAME, "reason": "Controlled", "message": "",
            "hardware": HARDWARE, "tokensPerSecond": round(rates[k] * (0.94 + 0.05 * math.sin(9 * turn))),
            "decision": {
                "draftTokens": k, "reason": "HighestGoodput", "bounding": "Goodput",
                "predictions": [{"draftTokens": each, "tokensPerSecond": rates[each]} for each in KS],
            },
            "schedule": schedule(acceptance),
        }  # fmt: skip


@contextmanager
def served(latest: Callable[[], Look]) -> Iterator[str]:
    """The dashboard's address, without a slash at its end, while the context is open."""
    bound: Future[tuple[str, Callable[[], object]]] = Future()

    async def serve() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        async with serving(latest, listening(0)) as url:
            bound.set_result((url, lambda: loop.call_soon_threadsafe(ended.set)))
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    url, end = bound.result(30)
    try:
        yield url
    finally:
        end()
        thread.join()
