"""A fake scheduler with the real control server on a loopback port."""

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.engine.fakes import FakeScheduler, engine_facts, model_output
from tests.engine.support import MixedScheduler
from turbospec.engine.environment import EngineEnvironment, read_environment
from turbospec.engine.startup import AttachedRuntime, attach_with
from turbospec.wire.engine_state import EngineState

TOKEN = "right"
GOOD: dict[str, Any] = {
    "id": "doc-1",
    "epoch": 3,
    "mode": "table",
    "allowedDraftTokens": [0, 2],
    "table": [{"fromBatch": 1, "toBatch": 4, "draftTokens": 2}, {"fromBatch": 5, "toBatch": 8, "draftTokens": 0}],
}


class Engine:
    """A fake scheduler with a live control server."""

    def __init__(self, scheduler: Any, attached: AttachedRuntime) -> None:
        self.scheduler, self.attached, self.port = scheduler, attached, attached.server.port

    def ask(
        self, method: str, path: str, body: bytes | None = None, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
            connection.request(method, path, body=body, headers={**authorization, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def put(self, document: Any, token: str | None = TOKEN) -> tuple[int, dict[str, Any]]:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, text = self.ask("PUT", "/v1/control", body, token)
        return status, json.loads(text)

    def state(self) -> EngineState:
        status, text = self.ask("GET", "/v1/state")
        assert status == 200
        return EngineState.model_validate_json(text)

    def step(self) -> int:
        output = self.scheduler.schedule()
        self.scheduler.get_grammar_bitmask(output)
        self.scheduler.update_from_output(output, model_output(output, 1))
        self.scheduler.give_drafts(output)
        self.attached.runtime.settle()
        return int(output.num_spec_tokens_to_schedule)


def environment(folder: Path, **changes: Any) -> EngineEnvironment:
    base = read_environment({})
    defaults: dict[str, Any] = {
        "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "control_host": "127.0.0.1",
        "control_port": 0,
        "state_dir": folder,
        "kill_file": folder / "off",
    }
    return replace(base, **{**defaults, **changes})


def start(folder: Path, scheduler: FakeScheduler | None = None, facts: Any = None, **changes: Any) -> Engine:
    made: Any = scheduler if scheduler is not None else MixedScheduler()
    attached = attach_with(made, facts if facts is not None else engine_facts(), environment(folder, **changes))
    made._turbospec = attached
    return Engine(made, attached)


STALL_SECONDS = 3.0
"""A step that waits for a fault to end waits for seconds (slow clients: 15); one on a crowded machine does not."""


class Serving:
    """Steps an engine in a thread of its own, as vLLM does, while a test misbehaves; fails where steps stop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        self.steps = 0
        self.longest = 0.0

    def __enter__(self) -> "Serving":
        if not self._engine.scheduler.requests:
            self._engine.scheduler.add("load")
        self._thread.start()
        wait_for(lambda: self.steps > 3)
        return self

    def __exit__(self, *_: object) -> None:
        seen = self.steps
        try:
            wait_for(lambda: self.steps > seen + 3 or self._failure)
        finally:
            self._end.set()
            self._thread.join(10)
        assert self._failure is None, self._failure
        assert self.longest < STALL_SECONDS
        assert self._engine.attached.runtime.unsupported() in {None, self._engine.attached.runtime.facts.unsupported}

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                began = time.monotonic()
                self._engine.step()
                self.longest = max(self.longest, time.monotonic() - began)
                self.steps += 1
                time.sleep(0.001)  # the device works
        except Exception as error:  # noqa: BLE001 - told to the test
            self._failure = error


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
