"""Scenarios on vLLM's own EngineCore without a model; runs in vLLM's environment and prints one JSON object.

python -m tests.engine.driven_scenarios MODEL sync|async SWAPS
"""

import http.client
import json
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.engine.driven_core import Device, DrivenCore, as_rows, cpu_config, gpu_like_config, token

TOKEN = "of-this-test"
LADDER = (0, 1, 3, 7)
MAX_NUM_SEQS = 16
STARTUP_TABLE = [[1, 4, 7], [5, 8, 3], [9, 12, 1], [13, MAX_NUM_SEQS, 0]]
STEP_SECONDS, TOKEN_SECONDS, PASS_SECONDS = 0.010, 0.0001, 0.003


class Client:
    """One PUT after the other over the real server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.statuses: dict[int, int] = {}

    def put(self, document: dict[str, Any]) -> int:
        """The step that the answer promises."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("PUT", "/v1/control", json.dumps(document), {"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            return int(content.get("step", -1))
        finally:
            connection.close()


def table(name: str, k: int) -> dict[str, Any]:
    row = {"fromBatch": 1, "toBatch": MAX_NUM_SEQS, "draftTokens": k}
    return {"id": name, "epoch": 1, "mode": "table", "allowedDraftTokens": [k], "table": [row]}


def local() -> dict[str, Any]:
    """The engine loop, which probes and changes K by itself."""
    fit = {
        "perStep": int(STEP_SECONDS * 1e12),
        "perBatchedToken": int(TOKEN_SECONDS * 1e12),
        "perKvToken": 0,
        "perDraftingStep": 0,
        "perDraftPass": int(PASS_SECONDS * 1e12),
        "perDraftToken": 0,
    }
    cells = [
        {
            "batch": batch,
            "contextTokens": 200,
            "draftTokens": k,
            "microseconds": int(1e6 * (STEP_SECONDS + TOKEN_SECONDS * batch * (k + 1) + PASS_SECONDS * k)),
            "samples": 20,
        }
        for batch in (1, 2, 4, 8, 16)
        for k in LADDER
    ]
    allowed = list(LADDER)
    return {
        "id": "local", "epoch": 1, "mode": "local", "allowedDraftTokens": allowed,
        "latency": {"cells": cells, "fit": fit},
    }  # fmt: skip


class Load:
    """Keeps ``clients`` requests in the engine, of lengths that differ."""

    def __init__(self, core: DrivenCore) -> None:
        self._core = core
        self.added = 0
        self.grammars = False
        """Every other request has a structured output."""

    def top_up(self, clients: int) -> None:
        """A new request for every one that has ended."""
        running, waiting = self._core.scheduler.get_request_counts()
        for _ in range(clients - running - waiting):
            length, grammar = 20 + 37 * self.added % 400, self.grammars and self.added % 2 == 0
            self._core.add(f"request-{self.added}", length, 30 + 13 * self.added % 90, grammar=grammar)
            self.added += 1

    def drain(self) -> None:
        """Until nothing is in flight."""
        while self._core.busy():
            self._core.step()


def pairing(core: DrivenCore, client: Client, load: Load) -> dict[str, Any]:
    """Steps at every K in turn and under the engine loop, with idle pauses; both logs of the same steps."""
    runtime = core.scheduler._turbospec.runtime
    first, base = len(core.device.log), runtime.next_seq
    for turn in range(12):
        client.put(local() if turn % 3 == 2 else table(f"pair-{base}-{turn}", LADDER[turn % 4]))
        for step in range(25):
            load.top_up((2, 6, 11, 16)[(turn + step // 13) % 4])
            core.step()
        if turn % 4 == 3:
            load.drain()
            core.device.clock.now += 5.0
    load.drain()
    page = [record for record in runtime.ring.last(4096) if record.seq >= base]
    records = [{name: getattr(record, name) for name in record.__slots__} for record in page]
    return {"records": records, "executed": as_rows(core.device.log[first:])}


def swaps(core: DrivenCore, client: Client, load: Load, count: int) -> dict[str, Any]:
    """``count`` documents one after the other while the engine serves 12 clients at full speed."""
    scheduler, steps = core.scheduler, _StepLog()
    schedule = scheduler.schedule

    def noted(*arguments: Any) -> Any:
        steps.begun += 1
        number = steps.begun - 1
        output = schedule(*arguments)
        steps.ended += 1
        if output.total_num_scheduled_tokens:
            widths = sorted({len(draft) for draft in output.scheduled_spec_decode_tokens.values()})
            steps.rows.append([number, output.num_spec_tokens_to_schedule, widths])
        return output

    scheduler.schedule = noted
    first = len(core.device.log)
    puts: list[dict[str, int]] = []

    def put_all() -> None:
        for number in range(count):
            k = LADDER[(number + number // 7) % 4]
            sent = steps.ended  # one that has begun may not have read its K yet
            promised = client.put(table(f"swap-{number}", k))
            puts.append({"k": k, "sent": sent, "acknowledged": steps.begun, "promised": promised})
            while steps.begun < puts[-1]["acknowledged"] + 2:  # at least a step is decided with every document
                time.sleep(0.0005)

    thread = threading.Thread(target=put_all, daemon=True)
    thread.start()
    while thread.is_alive():
        load.top_up(12)
        core.step()
        time.sleep(0.0005)  # a device at work: other threads run
    load.drain()
    scheduler.schedule = schedule
    return {"puts": puts, "steps": steps.rows, "executed": as_rows(core.device.log[first:])}


class _StepLog:
    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.rows: list[list[Any]] = []


def wrong_answers(core: DrivenCore) -> list[str]:
    """Requests that did not end by their length with the only right text."""
    return [
        name
        for name, tokens in core.outputs.items()
        if core.finished.get(name) != "length" or tokens != [token(name, i) for i in range(len(tokens))]
    ]


def main(model: str, kind: str, count: str) -> None:
    make = gpu_like_config if kind == "async" else cpu_config
    device = Device(
        step_seconds=lambda tokens: STEP_SECONDS + TOKEN_SECONDS * tokens,
        pass_seconds=PASS_SECONDS,
        drafts_after_completion=kind == "async",
    )
    core = DrivenCore(make(Path(model), STARTUP_TABLE, max_num_seqs=MAX_NUM_SEQS, max_model_len=2048), device)
    from turbospec.engine import scheduler as mixin

    vars(mixin)["time"] = device.clock  # the device's calendar is the runtime's clock
    attached = core.scheduler._turbospec
    client, load = Client(attached.server.port), Load(core)
    result: dict[str, Any] = {
        "scheduler": [base.__name__ for base in type(core.scheduler).__mro__[:3]],
        "allowed": attached.runtime.facts.limits.allowed_draft_tokens,
        "concurrent": core.core.batch_queue_size,
        "pairing": {"1": pairing(core, client, load)},
    }
    if kind == "async":
        # A pipeline one step deeper than vLLM's own: the tokens of a step are known when two more have been scheduled.
        core.core.batch_queue_size, core.core.batch_queue = 3, deque(maxlen=3)
        result["pairing"]["2"] = pairing(core, client, load)
        core.core.batch_queue_size, core.core.batch_queue = 2, deque(maxlen=2)
    load.grammars = True
    result["pairing"]["grammars"] = pairing(core, client, load)
    load.grammars = False
    result["swaps"] = swaps(core, client, load, int(count))
    result |= {"statuses": client.statuses, "wrong": wrong_answers(core), "requests": load.added}
    unsupported = attached.runtime.unsupported()
    result["unsupported"] = unsupported.message if unsupported is not None else None
    core.core.shutdown()
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
