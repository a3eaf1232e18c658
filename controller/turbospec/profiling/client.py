"""What the profiling runner asks of the engine beside it: vLLM's own server and TurboSpec's control server."""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import ValidationError

from turbospec.control.step import StepRecord
from turbospec.wire.control_document import ControlDocument, ControlMode, TableRow
from turbospec.wire.engine_state import EngineState, StepsPage

HOST = "127.0.0.1"
EPOCH = 1
PAGE_ROWS = 256
TIMEOUT_SECONDS = 30.0
"""No control request takes this long unless the engine has hung."""
RECORD_FIELDS = tuple(item.name for item in fields(StepRecord))


class EngineError(Exception):
    """The engine cannot be reached or refused a request; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Token ids of a prompt and of what the model made of it."""

    prompt: tuple[int, ...]
    output: tuple[int, ...]


@dataclass(slots=True)
class ControlClient:
    """TurboSpec's control server. Every call is one request on a connection of its own."""

    port: int
    token: str
    _documents: int = field(default=0, init=False)

    def state(self) -> EngineState:
        """What the engine says of itself."""
        try:
            return EngineState.model_validate_json(_ask(self.port, "GET", "/v1/state", self.token))
        except ValidationError as error:
            raise EngineError(f"the engine's /v1/state cannot be read: {_first(error)}") from error

    def force(self, draft_tokens: int, max_num_seqs: int) -> None:
        """Every step decides ``draft_tokens`` from now on, whatever its batch."""
        self._documents += 1
        document = ControlDocument(
            id=f"profile-{self._documents}",
            epoch=EPOCH,
            mode=ControlMode.TABLE,
            allowed_draft_tokens=[draft_tokens],
            table=[TableRow(from_batch=1, to_batch=max_num_seqs, draft_tokens=draft_tokens)],
            reason="profiling",
        )
        body = document.model_dump_json(by_alias=True, exclude_none=True).encode()
        _ask(self.port, "PUT", "/v1/control", self.token, body=body)

    def steps(self, since: int) -> tuple[list[StepRecord], int]:
        """Records of the steps from ``since`` on, oldest first, and the number to ask for next."""
        records: list[StepRecord] = []
        while True:
            try:
                page = StepsPage.model_validate_json(_ask(self.port, "GET", f"/v1/steps?since={since}", self.token))
            except ValidationError as error:
                raise EngineError(f"the engine's /v1/steps cannot be read: {_first(error)}") from error
            records.extend(_records(page))
            since = page.next
            if len(page.rows) < PAGE_ROWS:
                return records, since


@dataclass(frozen=True, slots=True)
class ServingClient:
    """vLLM's OpenAI server."""

    port: int
    api_key: str | None = None

    def healthy(self) -> bool:
        """Whether vLLM serves: false while it is starting or when it is gone."""
        try:
            _ask(self.port, "GET", "/health", None, timeout=5.0)
        except EngineError:
            return False
        return True

    def model(self) -> str:
        """The name under which vLLM serves the model."""
        try:
            return str(json.loads(_ask(self.port, "GET", "/v1/models", self.api_key))["data"][0]["id"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EngineError("vLLM lists no model at /v1/models") from error

    def complete(self, model: str, prompt: str | Sequence[int], max_tokens: int, timeout: float) -> Completion:
        """The greedy continuation of ``prompt``, as token ids."""
        body = completion_body(model, prompt, max_tokens, return_token_ids=True)
        answer = _ask(self.port, "POST", "/v1/completions", self.api_key, body=body, timeout=timeout)
        try:
            choice = json.loads(answer)["choices"][0]
            return Completion(tuple(map(int, choice["prompt_token_ids"])), tuple(map(int, choice["token_ids"])))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EngineError("vLLM returned no token ids for a completion: this version cannot be profiled") from error


def completion_body(model: str, prompt: str | Sequence[int], max_tokens: int, **extra: Any) -> bytes:
    """A greedy completion of exactly ``max_tokens`` tokens."""
    document = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
    return json.dumps(document | extra).encode()


def _ask(
    port: int,
    method: str,
    path: str,
    bearer: str | None,
    *,
    body: bytes | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> bytes:
    """The body of a successful answer; EngineError with the reason for any other."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"{method} {path} on port {port} failed: {type(error).__name__} {error}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        said = " ".join(answer[:300].decode("utf-8", "replace").split())
        raise EngineError(f"{method} {path} on port {port} was answered {response.status}: {said}")
    return answer


def _records(page: StepsPage) -> list[StepRecord]:
    """Step records of a page; fields that this version does not know are passed over."""
    missing = set(RECORD_FIELDS) - set(page.fields)
    if missing:
        raise EngineError(
            f"step records lack {', '.join(sorted(missing))}: runner and engine runtime differ in version"
        )
    columns = [page.fields.index(name) for name in RECORD_FIELDS]
    return [StepRecord(*(_plain(row[column]) for column in columns)) for row in page.rows]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _first(error: ValidationError) -> str:
    item = error.errors()[0]
    return f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
