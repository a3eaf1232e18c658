"""What the paths of the control server do, whoever speaks HTTP around it."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from turbospec.engine.documents import parse_document
from turbospec.engine.environment import logger
from turbospec.engine.refusals import RequestRefusedError
from turbospec.wire.base import WireModel
from turbospec.wire.control_document import MAX_BODY_BYTES, ControlAnswer, ControlDocument
from turbospec.wire.engine_state import EngineState, ServedCells, StepsPage

JSON = "application/json"
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class ControlApi:
    """What the server serves; every function may be called from any thread."""

    state: Callable[[], EngineState]
    put: Callable[[ControlDocument], ControlAnswer]
    refused: Callable[[], None]
    steps: Callable[[int, int], StepsPage]
    cells: Callable[[], ServedCells]
    metrics: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over the wire."""

    status: HTTPStatus
    content_type: str
    body: bytes


class ControlRequests:
    """Answers the requests of one engine. Every method raises RequestRefusedError where it refuses."""

    def __init__(self, api: ControlApi, token_sha256: str | None) -> None:
        self._api = api
        self._token_digest = bytes.fromhex(token_sha256) if token_sha256 else None

    def get(self, target: str, authorization: str) -> Answer:
        """Every read. ``target`` is path and query, ``authorization`` the header of that name."""
        url = urlsplit(target)
        if url.path == "/healthz":
            return Answer(HTTPStatus.OK, "text/plain; charset=utf-8", b"ok\n")
        if url.path == "/metrics":
            return Answer(HTTPStatus.OK, PROMETHEUS_TEXT, self._api.metrics())
        if url.path == "/v1/state":
            self._authorize(authorization)
            return model_answer(HTTPStatus.OK, self._api.state())
        if url.path == "/v1/steps":
            self._authorize(authorization)
            query = parse_qs(url.query)
            page = self._api.steps(_number(query, "since", 0), _number(query, "limit", 256))
            return model_answer(HTTPStatus.OK, page)
        if url.path == "/v1/cells":
            self._authorize(authorization)
            return model_answer(HTTPStatus.OK, self._api.cells())
        raise RequestRefusedError("NotFound", f"there is no {url.path[:200]!r}")

    def admit(self, target: str, authorization: str, content_length: str) -> int:
        """How many bytes of a PUT's body are to be read; decided from its headers alone, so that nothing is parsed
        for a stranger. ``content_length`` is empty where that header is missing."""
        if urlsplit(target).path != "/v1/control":
            raise RequestRefusedError("NotFound", f"nothing can be put to {target[:200]!r}")
        self._authorize(authorization)
        if not content_length.isascii() or not content_length.isdigit():
            raise self._counted(RequestRefusedError("LengthRequired", "send the body with a Content-Length"))
        length = int(content_length[:19])
        if length > MAX_BODY_BYTES:
            message = f"the body has {length} bytes, at most {MAX_BODY_BYTES} are read"
            raise self._counted(RequestRefusedError("TooLarge", message))
        return length

    def put(self, body: bytes) -> Answer:
        """Puts the control document in force."""
        try:
            return model_answer(HTTPStatus.OK, self._api.put(parse_document(body)))
        except RequestRefusedError as refusal:
            raise self._counted(refusal) from refusal.__cause__

    def _counted(self, refusal: RequestRefusedError) -> RequestRefusedError:
        self._api.refused()
        level = logging.WARNING if refusal.code != "StaleEpoch" else logging.INFO
        logger.log(level, "refused a control document: %s", refusal)
        return refusal

    def _authorize(self, authorization: str) -> None:
        expected = self._token_digest
        if expected is None:
            raise RequestRefusedError(
                "NoToken",
                "the engine was started without TURBOSPEC_TOKEN_SHA256: nobody may read its state or control it",
            )
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, expected):
            raise RequestRefusedError("Unauthorized", "send 'Authorization: Bearer <token>' with the token of this pod")


def model_answer(status: HTTPStatus, model: WireModel) -> Answer:
    """A model as JSON."""
    return Answer(status, JSON, model.model_dump_json(by_alias=True).encode())


def refusal_answer(refusal: RequestRefusedError) -> Answer:
    """What a refused client is told."""
    return model_answer(refusal.status, refusal.as_wire())


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit():
        raise RequestRefusedError("Invalid", f"{name}: {text[:40]!r} is not a whole number")
    return int(text[:18])
