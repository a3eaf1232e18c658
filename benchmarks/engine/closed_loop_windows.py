"""Runs the windows of the closed-loop benchmark: who has load, which document is in force, and what came of it."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.engine.closed_loop_schedule import DRAFT_TOKENS, STEERED, Arm, Pace, Window
from benchmarks.engine.closed_loop_servers import MAX_NUM_SEQS, Server
from e2e.demo.samples import StepSummary, summarise
from e2e.load.worker import Load
from turbospec.wire.control_document import ControlDocument, ControlMode, TableRow
from turbospec.wire.engine_state import StepsPage
from turbospec.wire.latency import LatencyDocument
from turbospec.wire.profile_result import ProfileResult

FIRST_TOKENS_SECONDS = 90.0
"""How long the prompts of all clients may take; the first drafts of a process compile the drafter."""
PAST_ALL_STEPS = 2**53
DRAFTED, ACCEPTED = "vllm:spec_decode_num_draft_tokens_total", "vllm:spec_decode_num_accepted_tokens_total"


QUIET_SECONDS, MOST_EDGE_SECONDS = 0.01, 0.5
"""Tokens of one step arrive within some milliseconds of each other, those of the next one 25 and more later."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a window begins or ends: totals of one server's clients when the tokens of a step had arrived."""

    at: float
    tokens: int
    prompt_tokens: int


class WindowError(Exception):
    """A window could not be measured; the message says why."""


@dataclass
class Bench:
    """Both servers and the clients. One window at a time; only the server of its arm has load."""

    servers: Mapping[str, Server]
    session: aiohttp.ClientSession
    load: Load
    profile: ProfileResult
    pace: Pace
    _in_force: str | None = field(default=None, init=False)

    async def warm_up(self, style: str) -> None:
        """Every server has drafted: its first drafts compile the drafter. WindowError where one drafts nothing."""
        for name in self.servers:
            await self._begin(name, style, 2, f"warm-up-{name}")
            deadline = time.monotonic() + FIRST_TOKENS_SECONDS
            while not (await self._drafts(name))[0]:
                if time.monotonic() > deadline:
                    raise WindowError(f"{name}: no drafts within {FIRST_TOKENS_SECONDS:.0f} s")
                await asyncio.sleep(0.5)

    async def measure(self, window: Window) -> dict[str, Any]:
        """One line of the raw log. What happens before ``pace.settle_seconds`` are over is in ``excludedSeconds``."""
        began, name = time.monotonic(), window.arm.server
        if name == STEERED:
            await self._steer(window.arm)
        if window.anew:
            await self._begin(name, window.point.style, window.point.clients, window.seed)
        await asyncio.sleep(self.pace.settle_seconds)
        drafted, accepted = await self._drafts(name)
        step = await self._next_step(name)
        failed, first = self.load.totals.failed, await self._edge(name)
        await asyncio.sleep(self.pace.window_seconds)
        last = await self._edge(name)
        while last.at <= first.at and time.monotonic() - first.at < FIRST_TOKENS_SECONDS:
            await asyncio.sleep(QUIET_SECONDS)  # a step takes longer than a window: this machine is not idle
            last = await self._edge(name)
        steps = await self._steps(name, step)
        drafted_after, accepted_after = await self._drafts(name)
        return {
            "point": window.point.name,
            "style": window.point.style,
            "clients": window.point.clients,
            "arm": window.arm.name,
            "round": window.round,
            "tokens": last.tokens - first.tokens,
            "promptTokens": last.prompt_tokens - first.prompt_tokens,
            "seconds": round(last.at - first.at, 4),
            "meanDraftTokens": window.arm.pinned if steps is None else _rounded(steps.mean_draft_tokens),
            "meanBatch": None if steps is None else _rounded(steps.mean_batch),
            "draftTokens": drafted_after - drafted,
            "acceptedTokens": accepted_after - accepted,
            "failedRequests": self.load.totals.failed - failed,
            "excludedSeconds": round(first.at - began, 3),
            "clientsBegan": window.anew,
        }

    async def _edge(self, name: str) -> Edge:
        """The last step that is wholly there: windows hold whole steps, which are long where prompts are read."""
        totals, give_up = self.load.totals, time.monotonic() + MOST_EDGE_SECONDS
        while True:
            now = time.monotonic()
            if now - totals.arrived >= QUIET_SECONDS or now >= give_up:
                return Edge(totals.arrived, totals.tokens[name], totals.prompt_tokens[name])
            await asyncio.sleep(QUIET_SECONDS / 4)

    async def _begin(self, name: str, style: str, clients: int, seed: str) -> None:
        """Other clients; returns once each of them has had its first token."""
        self.load.start({name: f"http://127.0.0.1:{self.servers[name].port}"}, style, clients, seed)
        deadline = time.monotonic() + FIRST_TOKENS_SECONDS
        while not self.load.all_answered:
            if time.monotonic() > deadline:
                raise WindowError(f"{name}: clients without a token; last error: {self.load.totals.error}")
            await asyncio.sleep(0.05)

    async def _steer(self, arm: Arm) -> None:
        if self._in_force == arm.name:
            return
        document = control_document(arm, self.profile)
        answer = await self._control("PUT", "/v1/control", document.model_dump(by_alias=True, exclude_none=True))
        if answer.get("id") != document.id:
            raise WindowError(f"the document of {arm.name} was not accepted: {answer}")
        self._in_force = arm.name

    async def _next_step(self, name: str) -> int:
        if self.servers[name].control_port is None:
            return 0
        page = StepsPage.model_validate(await self._control("GET", f"/v1/steps?since={PAST_ALL_STEPS}"))
        return page.next

    async def _steps(self, name: str, since: int) -> StepSummary | None:
        """What the steps from ``since`` on were; None for a server without TurboSpec."""
        if self.servers[name].control_port is None:
            return None
        rows: list[dict[str, Any]] = []
        while True:
            page = StepsPage.model_validate(await self._control("GET", f"/v1/steps?since={since}"))
            rows += [dict(zip(page.fields, row, strict=True)) for row in page.rows]
            if len(page.rows) < 256:
                return summarise(rows)
            since = page.next

    async def _drafts(self, name: str) -> tuple[int, int]:
        """vLLM's own counters: draft tokens verified and accepted."""
        async with self.session.get(f"http://127.0.0.1:{self.servers[name].port}/metrics") as answer:
            found = dict(_samples(await answer.text()))
        return int(found[DRAFTED]), int(found[ACCEPTED])

    async def _control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        server = self.servers[STEERED]
        url = f"http://127.0.0.1:{server.control_port}{path}"
        headers = {"Authorization": f"Bearer {server.token}"}
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            content: dict[str, Any] = await answer.json()
            return content


def control_document(arm: Arm, profile: ProfileResult) -> ControlDocument:
    """The engine loop with the measured profile and all K, or one K at every batch, as the operator sends them."""
    identifier = "loop" if arm.pinned is None else f"pinned-{arm.pinned}"
    if arm.pinned is None:
        return ControlDocument(
            id=identifier,
            epoch=1,
            mode=ControlMode.LOCAL,
            allowed_draft_tokens=list(DRAFT_TOKENS),
            latency=LatencyDocument(cells=profile.cells, fit=profile.fit),
        )
    table = [TableRow(from_batch=1, to_batch=MAX_NUM_SEQS, draft_tokens=arm.pinned)]
    return ControlDocument(
        id=identifier, epoch=1, mode=ControlMode.TABLE, allowed_draft_tokens=[arm.pinned], table=table
    )


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
