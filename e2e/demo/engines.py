"""The engines as they answer themselves: GET /v1/state and /v1/steps of every serving pod."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from e2e.demo.kube import SYSTEM_NAMESPACE, Kube
from turbospec.wire.engine_state import EngineState, StepsPage
from turbospec_operator import names
from turbospec_operator.tokens import engine_token

CONTROL_PORT = 9476
SERVING_PORT = 8000
ATTEMPTS = 4
FULL_PAGE = 256
"""Rows of a page that more may follow."""


class Address(Protocol):
    """Where a serving pod answers."""

    @property
    def serving_url(self) -> str: ...

    @property
    def control_url(self) -> str: ...


@dataclass
class Engine:
    """One vLLM server. ``next_step`` is the first step record not yet read."""

    pod: str
    serving_url: str
    control_url: str
    token: str
    next_step: int = 0
    latest: list[dict[str, Any]] = field(default_factory=list)


class Engines:
    """Reads all engines at once. Every method raises aiohttp.ClientError or TimeoutError where one does not answer."""

    def __init__(self, engines: list[Engine], session: aiohttp.ClientSession) -> None:
        self.all = engines
        self._session = session

    @property
    def targets(self) -> dict[str, str]:
        """Serving addresses by pod name."""
        return {engine.pod: engine.serving_url for engine in self.all}

    async def states(self) -> list[EngineState]:
        """GET /v1/state of each."""
        bodies = await asyncio.gather(*(self._get(engine, "/v1/state") for engine in self.all))
        return [EngineState.model_validate_json(body) for body in bodies]

    async def new_steps(self) -> list[dict[str, Any]]:
        """The step records of all engines since the last call, by field name; ``latest`` keeps them by engine."""
        await asyncio.gather(*(self._read_steps(engine) for engine in self.all))
        return [row for engine in self.all for row in engine.latest]

    async def wait_for_generation(self, generation: int, seconds: float) -> bool:
        """Whether every engine runs a document of this or a later generation of its policy in time."""
        try:
            async with asyncio.timeout(seconds):
                while not all(_generation(state) >= generation for state in await self.states()):  # noqa: ASYNC110 (remote)
                    await asyncio.sleep(0.25)
        except TimeoutError:
            return False
        return True

    async def _read_steps(self, engine: Engine) -> None:
        rows: list[dict[str, Any]] = []
        while True:
            page = StepsPage.model_validate_json(await self._get(engine, f"/v1/steps?since={engine.next_step}"))
            rows.extend(dict(zip(page.fields, row, strict=True)) for row in page.rows)
            engine.next_step = page.next
            if len(page.rows) < FULL_PAGE:  # an empty page would be waited for without end: the engine goes on stepping
                break
        engine.latest = rows

    async def _get(self, engine: Engine, path: str) -> bytes:
        """Reading is harmless to repeat: an engine busy with a long step may let a connection go."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._get_once(engine, path)
            except (aiohttp.ClientConnectionError, TimeoutError):
                await asyncio.sleep(0.5)
        return await self._get_once(engine, path)

    async def _get_once(self, engine: Engine, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {engine.token}"}
        async with self._session.get(engine.control_url + path, headers=headers) as response:
            response.raise_for_status()
            return await response.read()


def find_engines(kube: Kube, namespace: str, labels: str, address: Callable[[str, str, str], Address]) -> list[Engine]:
    """The injected pods, with tokens derived as the operator derives them.

    ``address`` says where a pod answers, from namespace, name and IP.
    """
    secret = kube.core.read_namespaced_secret(names.MASTER_KEY_SECRET, SYSTEM_NAMESPACE)
    master_key = base64.b64decode(secret.data[names.MASTER_KEY_FIELD])
    found = []
    for pod in sorted(kube.pods(namespace, labels), key=lambda each: str(each.metadata.name)):
        nonce = (pod.metadata.annotations or {}).get(names.ANNOTATION_NONCE)
        if nonce is None:
            continue
        answers = address(namespace, pod.metadata.name, pod.status.pod_ip)
        found.append(
            Engine(
                pod=pod.metadata.name,
                serving_url=answers.serving_url,
                control_url=answers.control_url,
                token=engine_token(master_key, namespace, nonce),
            )
        )
    return found


def _generation(state: EngineState) -> int:
    """Generation of the policy whose document is in force; -1 where there is none."""
    return state.applied.policy.generation if state.applied and state.applied.policy else -1
