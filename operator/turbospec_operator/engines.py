"""Talks to engines over their control port: GET /v1/state, GET /v1/cells and PUT /v1/control."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from pydantic import ValidationError

from turbospec.control.served_cells import ServedCell
from turbospec.wire.control_document import MAX_BODY_BYTES, ControlAnswer, ControlDocument, ControlRefusal
from turbospec.wire.engine_state import EngineState, ServedCells
from turbospec_operator.engine_views import served_cells
from turbospec_operator.wording import one_line

REQUEST_SECONDS = 1.5
"""An engine that needs longer than this to say how it is counts as not reachable this round; rounds are 2 s apart."""

CONCURRENT_REQUESTS = 32
"""Bounds open connections of one round; 1,000 engines at 5 ms each still answer within a fraction of a second."""

MAX_STATE_BYTES = 1_048_576
"""A state is some 10 KB; a pod that somebody else controls must not fill the operator's memory."""


@dataclass(frozen=True, slots=True)
class EngineEndpoint:
    """Where an engine's control server is, and the token it wants."""

    host: str
    port: int
    token: str = field(repr=False)

    def url(self, path: str) -> str:
        """The address of a path; IPv6 addresses get their brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{path}"


class EngineError(Exception):
    """The engine could not be reached, or refused; the message is one line.

    ``status`` is None without an answer. ``refusal`` is the engine's own ``code: message``, where it has read what it
    was sent and does not want it.
    """

    def __init__(self, message: str, status: int | None = None, refusal: str | None = None) -> None:
        self.status = status
        self.refusal = refusal
        super().__init__(message)


class EngineClient:
    """HTTP to all engines; use as ``async with EngineClient() as engines``."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No environment proxies: pods are reached directly, and the token belongs to nobody in between.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONCURRENT_REQUESTS),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def state(self, endpoint: EngineEndpoint) -> EngineState:
        """What the engine says of itself; raises EngineError."""
        body = await self._request("GET", endpoint, "/v1/state", None)
        try:
            return EngineState.model_validate_json(body)
        except ValidationError as error:
            raise EngineError(f"engine state could not be read: {one_line(error)}") from error

    async def cells(self, endpoint: EngineEndpoint) -> tuple[ServedCell, ...]:
        """The step times that it has measured while serving; raises EngineError."""
        body = await self._request("GET", endpoint, "/v1/cells", None)
        try:
            return served_cells(ServedCells.model_validate_json(body))
        except ValueError as error:
            reason = one_line(error) if isinstance(error, ValidationError) else str(error)
            raise EngineError(f"measured step times could not be read: {reason}") from error

    async def put_control(self, endpoint: EngineEndpoint, document: ControlDocument) -> ControlAnswer:
        """Hand over a control document; raises EngineError with the engine's reason where it is refused."""
        body = document.model_dump_json(by_alias=True, exclude_none=True).encode()
        if len(body) > MAX_BODY_BYTES:
            raise EngineError(f"control document has {len(body)} bytes, engines take {MAX_BODY_BYTES}")
        answer = await self._request("PUT", endpoint, "/v1/control", body)
        try:
            return ControlAnswer.model_validate_json(answer)
        except ValidationError as error:
            raise EngineError(f"engine's answer could not be read: {one_line(error)}") from error

    async def _request(self, method: str, endpoint: EngineEndpoint, path: str, body: bytes | None) -> bytes:
        if self._session is None:
            raise RuntimeError("EngineClient is used outside its context")
        headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, endpoint.url(path), data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _read(response)
                if response.status != 200:
                    raise _refused(response.status, answer)
                return answer
        except TimeoutError as error:
            raise EngineError(f"no answer from {endpoint.host}:{endpoint.port} in {REQUEST_SECONDS} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = f"{type(error).__name__} {error}"
            raise EngineError(f"cannot reach {endpoint.host}:{endpoint.port}: {reason}") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.read(MAX_STATE_BYTES + 1)
    while len(body) <= MAX_STATE_BYTES and not response.content.at_eof():
        body += await response.content.read(MAX_STATE_BYTES + 1 - len(body))
    if len(body) > MAX_STATE_BYTES:
        raise EngineError(f"answer is larger than {MAX_STATE_BYTES} bytes")
    return body


def _refused(status: int, body: bytes) -> EngineError:
    """The engine's own code and message where it gave them."""
    if status == 401:
        return EngineError(
            "it refused the control token; a pod made under another master key must be restarted", status
        )
    try:
        answer = ControlRefusal.model_validate_json(body)
    except ValidationError:
        return EngineError(f"it answered HTTP {status}", status)
    refusal = f"{answer.code}: {' '.join(answer.message.split())}"
    return EngineError(f"it refused: {refusal}", status, refusal)
