"""A vLLM stand-in: both HTTP servers of an engine over sockets, and a scheduler whose step times follow a formula.

Steps run as fast as the interpreter does; what they report as their interval is the formula's time. So a test knows
what the runner must find, and does not wait for it. The formula's steps are about as short as the real ones here: the
runner naps for as long as the steps that it wants should take.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from turbospec.control.step import StepRecord
from turbospec.wire.control_document import ControlDocument
from turbospec.wire.engine_state import EngineCounters, EngineInfo, EngineLimits, EngineLoad, EngineState, Unsupported
from turbospec.wire.identity import ProfileIdentity

TOKEN = "secret"
IDENTITY = ProfileIdentity(
    hardware="cpu / Fake / 2 CPUs", target="llama-0", drafter="ngram", method="ngram",
    engine_arguments={"dtype": "bfloat16"}, engine_version="0.32.0",
)  # fmt: skip


def step_seconds(decodes: int, verified: int, prefill: int, kv_tokens: int, k: int) -> float:
    """The truth that a profile must recover: linear, with a price for drafting at all."""
    batched = decodes + verified + prefill
    return 0.0004 + 0.00002 * batched + 2e-8 * kv_tokens + (0.0001 if k else 0.0) + 0.00001 * k


@dataclass(slots=True)
class Request:
    """One completion in flight; ``computed`` of its tokens are in the KV cache."""

    prompt: tuple[int, ...]
    wanted: int
    computed: int = 0
    generated: int = 0
    drafts: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False


@dataclass(slots=True)
class FakeEngine:
    """Synchronous engine: drafts proposed after step n (with the K decided in it) are verified in step n+1."""

    max_num_seqs: int = 8
    max_num_batched_tokens: int = 256
    max_model_len: int = 1024
    kv_cache_tokens: int = 8192
    max_draft_tokens: int = 3
    accepted: int = 1
    yield_of: Callable[[int], int] = lambda k: k
    noise: Callable[[int], float] = lambda _seq: 1.0
    unsupported: Unsupported | None = None
    refuse: str | None = None
    table: dict[int, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    most_alike_together: int = 0
    forced: list[int] = field(default_factory=list)
    records: list[StepRecord] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: bool = True
    awaited: int = 0
    """Requests on their way, before which no step is made: steps are so short here that the first of a wave would have
    ended before the last one comes."""
    _previous: int = 0
    _idle: bool = True

    def loop(self) -> None:
        """Runs steps until told to stop."""
        while self.running:
            with self.lock:
                self.requests = [request for request in self.requests if not request.dropped]
                worked = self._step() if self.requests and self.awaited <= 0 else False
                self._idle = not worked
            time.sleep(0.0002)

    def _step(self) -> bool:
        """One step: decodes first, prefill chunks with what is left of the token budget."""
        active = self._admitted()
        decoding = [request for request in active if request.computed >= len(request.prompt)]
        verified = sum(request.drafts for request in decoding)
        kv_tokens = sum(request.computed for request in active)
        budget = self.max_num_batched_tokens - len(decoding) - verified
        prefill = 0
        for request in active:
            if request not in decoding:
                chunk = min(budget - prefill, len(request.prompt) - request.computed)
                request.computed += chunk
                prefill += chunk
        k = self.table.get(len(active), self.max_draft_tokens)
        seconds = step_seconds(len(decoding), verified, prefill, kv_tokens, self._previous) * self.noise(
            len(self.records)
        )
        for request in decoding:
            produced = 1 + min(self.accepted, request.drafts)
            request.generated += produced
            request.computed += produced
            request.drafts = self.yield_of(k)
        self.records.append(
            self._record(
                seconds=seconds, decodes=len(decoding), prefill=prefill, kv_tokens=kv_tokens, verified=verified, k=k
            )
        )
        self._previous = k
        for request in [r for r in active if r.generated >= r.wanted]:
            self.requests.remove(request)
            request.done.set()
        return True

    def _admitted(self) -> list[Request]:
        """The oldest requests that the KV cache and the batch limit hold together at their full length."""
        admitted: list[Request] = []
        room = self.kv_cache_tokens
        for request in self.requests[: self.max_num_seqs]:
            room -= len(request.prompt) + request.wanted
            if room < 0:
                break
            admitted.append(request)
        return admitted

    def _record(
        self, *, seconds: float, decodes: int, prefill: int, kv_tokens: int, verified: int, k: int
    ) -> StepRecord:
        values: dict[str, Any] = {
            "seq": len(self.records), "ended_seconds": time.monotonic(),
            "interval_seconds": None if self._idle else seconds,
            "interval_draft_tokens": self._previous, "decided_draft_tokens": k, "decodes": decodes,
            "prefill_tokens": prefill, "kv_tokens": kv_tokens, "waiting": 0, "generated_tokens": decodes,
            "verified_draft_tokens": verified, "asked_draft_tokens": self._previous,
            "drafting_requests": decodes if self._previous else 0,
        }  # fmt: skip
        zeros = (0,) * self.max_draft_tokens
        return StepRecord(**{item.name: values.get(item.name, zeros) for item in fields(StepRecord)})

    def state(self) -> EngineState:
        """GET /v1/state."""
        with self.lock:
            self.requests = [request for request in self.requests if not request.dropped]
        nothing = [0] * self.max_draft_tokens
        counters = dict.fromkeys(EngineCounters.model_fields, 0) | {
            "drafted_per_position": nothing, "accepted_per_position": nothing,
        }  # fmt: skip
        return EngineState(
            control_versions=[1],
            engine=EngineInfo(id="fake", vllm_version="0.32.0", runtime_version="0.1.0"),
            identity=IDENTITY,
            profile_key=IDENTITY.key(),
            limits=EngineLimits(
                max_num_seqs=self.max_num_seqs, max_num_batched_tokens=self.max_num_batched_tokens,
                max_model_len=self.max_model_len, max_draft_tokens=self.max_draft_tokens,
                allowed_draft_tokens=list(range(self.max_draft_tokens + 1)), kv_cache_tokens=self.kv_cache_tokens,
            ),
            unsupported=self.unsupported,
            table=[],
            load=EngineLoad(running=len(self.requests), waiting=0, decodes=0, kv_tokens=0, kv_cache_usage=0.0),
            acceptance=[],
            counters=EngineCounters.model_validate(counters),
            uptime_seconds=1.0,
        )  # fmt: skip

    def control(self, body: bytes) -> None:
        """PUT /v1/control."""
        document = ControlDocument.model_validate_json(body)
        rows = document.table or []
        table = {b: row.draft_tokens for row in rows for b in range(row.from_batch, min(row.to_batch, 64) + 1)}
        with self.lock:
            self.table = table
            self.forced.append(rows[0].draft_tokens)

    def steps(self, since: int) -> dict[str, Any]:
        """GET /v1/steps, at most 256 rows."""
        rows = self.records[since : since + 256]
        names = [item.name for item in fields(StepRecord)]
        plain = [[list(v) if isinstance(v := getattr(row, name), tuple) else v for name in names] for row in rows]
        return {"fields": names, "rows": plain, "next": since + len(rows)}

    def complete(self, document: dict[str, Any], alive: Callable[[], bool]) -> dict[str, Any]:
        """POST /v1/completions: returns when the scheduler has generated enough, or when the client is gone."""
        prompt = document["prompt"]
        tokens = tuple(prompt.encode() if isinstance(prompt, str) else prompt)
        request = Request(prompt=tokens, wanted=document["max_tokens"])
        with self.lock:
            self.awaited -= 1
            self.requests.append(request)
            firsts = [each.prompt[:16] for each in self.requests if not each.dropped]
            self.most_alike_together = max(self.most_alike_together, *map(firsts.count, firsts))
        while not request.done.wait(0.005):
            if not alive() or not self.running:
                request.dropped = True
                break
        output = [(tokens[-1] + 1 + i) % 256 for i in range(request.generated)]
        return {"choices": [{"prompt_token_ids": list(tokens), "token_ids": output}]}


class _Handler(BaseHTTPRequestHandler):
    engine: FakeEngine

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Quiet."""

    def do_GET(self) -> None:
        """Health, models, state and steps."""
        path, _, query = self.path.partition("?")
        if path == "/health":
            self._answer(200, b"")
        elif path == "/v1/models":
            self._answer(200, json.dumps({"data": [{"id": "fake-model"}]}).encode())
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, b'{"code": "Unauthorized"}')
        elif path == "/v1/state":
            self._answer(200, self.engine.state().model_dump_json(by_alias=True).encode())
        elif path == "/v1/steps":
            self._answer(200, json.dumps(self.engine.steps(int(query.removeprefix("since=")))).encode())
        else:
            self._answer(404, b"")

    def do_PUT(self) -> None:
        """The control document."""
        self.engine.control(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        """Completions."""
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.engine.refuse is not None and not isinstance(document["prompt"], str):
            self.engine.awaited -= 1
            self._answer(400, self.engine.refuse.encode())
            return
        answer = self.engine.complete(document, self._connected)
        try:
            self._answer(200, json.dumps(answer).encode())
        except OSError:
            return

    def _connected(self) -> bool:
        self.connection.settimeout(0.0)
        try:
            return bool(self.connection.recv(1))
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.connection.settimeout(None)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


@contextmanager
def serve(engine: FakeEngine) -> Iterator[int]:
    """Runs the engine; yields the loopback port on which both of its servers answer."""
    handler = type("Handler", (_Handler,), {"engine": engine})
    server = _Server(("127.0.0.1", 0), handler)
    runs = (partial(server.serve_forever, poll_interval=0.01), engine.loop)
    threads = [threading.Thread(target=run, daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield server.server_address[1]
    finally:
        engine.running = False
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()
