"""One real vLLM server with our runtime in it, loaded the way a pod loads it: from a zip on PYTHONPATH."""

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from turbospec.control.step import StepRecord
from turbospec.wire.engine_state import EngineState, StepsPage
from turbospec_operator.runtime_bundle import build_runtime_zip

TOKEN = "of-this-test"
MAX_DRAFT_TOKENS = 5
START_SECONDS = 180.0
"""30 s on an idle machine; other tests may be running."""

SPECULATION = {
    "method": "ngram",
    "num_speculative_tokens": MAX_DRAFT_TOKENS,
    "prompt_lookup_max": 4,
    "prompt_lookup_min": 1,
    "num_speculative_tokens_per_batch_size": [[1, 16, MAX_DRAFT_TOKENS]],
}


class VllmServer:
    """What a test asks of vLLM and of the runtime in it."""

    def __init__(self, port: int, control_port: int) -> None:
        self.port, self.control_port = port, control_port

    def complete(self, prompt: list[int], max_tokens: int) -> list[int]:
        """The greedy continuation, as token ids."""
        answer = self._json(
            "POST",
            self.port,
            "/v1/completions",
            {
                "model": "tiny",
                "prompt": prompt,
                "max_tokens": max_tokens,
                "temperature": 0,
                "ignore_eos": True,
                "return_token_ids": True,
            },
        )
        tokens: list[int] = answer["choices"][0]["token_ids"]
        return tokens

    def put(self, document: dict[str, Any]) -> int:
        """Puts a control document; the first step that decides with it."""
        return int(self._json("PUT", self.control_port, "/v1/control", document)["step"])

    def state(self) -> EngineState:
        return EngineState.model_validate(self._json("GET", self.control_port, "/v1/state"))

    def steps(self, since: int) -> list[StepRecord]:
        """All records from ``since`` on."""
        records: list[StepRecord] = []
        while True:
            page = StepsPage.model_validate(self._json("GET", self.control_port, f"/v1/steps?since={since}"))
            rows = [dict(zip(page.fields, row, strict=True)) for row in page.rows]
            records.extend(StepRecord(**row) for row in rows)  # type: ignore[arg-type]
            if not page.rows:
                return records
            since = page.next

    def spec_decode_totals(self) -> tuple[int, int]:
        """vLLM's own counters: drafts verified, and the tokens in them."""
        text = _ask("GET", self.port, "/metrics", None)[1].decode()
        found = [
            re.search(rf"^vllm:spec_decode_num_{name}_total{{.*}} (\S+)$", text, re.MULTILINE)
            for name in ("drafts", "draft_tokens")
        ]
        assert all(found), "vLLM's /metrics has no spec_decode series"
        drafts, tokens = (int(float(match.group(1))) for match in found if match)
        return drafts, tokens

    def _json(self, method: str, port: int, path: str, body: Any = None) -> Any:
        status, text = _ask(method, port, path, body)
        assert status == 200, f"{method} {path}: {status} {text.decode(errors='replace')[:500]}"
        return json.loads(text)


@contextmanager
def serve(folder: Path) -> Iterator[VllmServer]:
    """Fails, and does not skip, where vLLM or the model is missing."""
    venv = Path(os.environ.get("TURBOSPEC_VLLM_VENV") or Path.home() / ".cache/turbospec/vllm")
    model = Path(os.environ.get("TURBOSPEC_TINY_MODEL") or Path.home() / ".cache/turbospec/models/tiny")
    assert (venv / "bin/vllm").is_file(), f"no vLLM at {venv}: run `make vllm` or set TURBOSPEC_VLLM_VENV"
    assert (model / "config.json").is_file(), f"no model at {model}: run `make vllm` or set TURBOSPEC_TINY_MODEL"
    (folder / "turbospec.zip").write_bytes(build_runtime_zip())
    server = VllmServer(_free_port(), _free_port())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TURBOSPEC_", "VLLM_"))},
        "PYTHONPATH": str(folder / "turbospec.zip"),
        "TURBOSPEC_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "TURBOSPEC_CONTROL_HOST": "127.0.0.1",
        "TURBOSPEC_CONTROL_PORT": str(server.control_port),
        "TURBOSPEC_STATE_DIR": str(folder),
        "TURBOSPEC_KILL_FILE": str(folder / "off"),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",  # or n-gram drafting raises OpenMP's threads to the number of CPUs
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        *(str(venv / "bin/vllm"), "serve", str(model), "--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", str(server.port), "--enforce-eager", "--dtype", "float32"),
        *("--kv-cache-memory-bytes", "67108864", "--max-model-len", "1024", "--max-num-seqs", "16"),
        *("--no-enable-prefix-caching", "--speculative-config", json.dumps(SPECULATION)),
    ]
    with (folder / "vllm.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_healthy(server.port, process, folder / "vllm.log")
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if _ask("GET", port, "/health", None)[0] == 200:
                return
        except OSError:
            pass
        waiting = process.poll() is None and time.monotonic() < deadline
        assert waiting, f"vLLM did not start:\n{log.read_text()[-4000:]}"
        time.sleep(0.5)


def _ask(method: str, port: int, path: str, body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
