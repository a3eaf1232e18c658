"""One real vLLM server with our runtime in it, loaded the way a pod loads it: from a zip on PYTHONPATH."""

import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine import witness
from tests.support.ports import free_ports
from turbospec.control.step import StepRecord
from turbospec.wire.engine_state import EngineState, StepsPage
from turbospec_operator.runtime_bundle import build_runtime_zip

TOKEN = "of-this-test"
MAX_DRAFT_TOKENS = 5
START_SECONDS = 180.0
"""30 s on an idle machine; other tests may be running."""
STEP_SECONDS = 60.0
"""Hundredths of a second, and more between two answers."""
WITNESS_TAIL = 1000
"""Bytes at the end of the witness's file: some lines, the first of which is cut."""

SPECULATION = {
    "method": "ngram",
    "num_speculative_tokens": MAX_DRAFT_TOKENS,
    "prompt_lookup_max": 4,
    "prompt_lookup_min": 1,
    "num_speculative_tokens_per_batch_size": [[1, 16, MAX_DRAFT_TOKENS]],
}


def table(name: str, k: int) -> dict[str, Any]:
    """A control document that fixes K."""
    row = {"fromBatch": 1, "toBatch": 16, "draftTokens": k}
    return {"id": name, "epoch": 1, "mode": "table", "allowedDraftTokens": [k], "table": [row]}


class VllmServer:
    """What a test asks of vLLM and of the runtime in it. ``engine_process``: EngineCore and its worker are processes of
    their own, as by default; the witness does not see into the worker then."""

    def __init__(self, folder: Path, *, engine_process: bool = False) -> None:
        self.port, self.control_port = free_ports(2)
        self.engine_process = engine_process
        self.witness_file = folder / "witness.jsonl"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, where one has ended in its place, as a kubelet does: same command, same folder for its state.
        Returns when it answers /health."""
        log = self._folder / "vllm.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), stdout=output, stderr=output, start_new_session=True
            )
        _wait_until_healthy(self.port, self._process, log)

    def end(self) -> None:
        """The whole session of the server, whose leader may be dead already."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()

    def complete(self, prompt: list[int], max_tokens: int, **more: Any) -> list[int]:
        """The greedy continuation, as token ids; ``more`` goes into the request."""
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
                **more,
            },
        )
        tokens: list[int] = answer["choices"][0]["token_ids"]
        return tokens

    def put(self, document: dict[str, Any]) -> int:
        """Puts a control document; the first step that decides with it."""
        return int(self._json("PUT", self.control_port, "/v1/control", document)["step"])

    def refused(self, body: bytes, token: str = TOKEN) -> tuple[int, str]:
        """Status and code of the answer to a document that is none."""
        status, text = _ask("PUT", self.control_port, "/v1/control", body, token)
        return status, str(json.loads(text)["code"])

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

    def witnessed(self) -> list[Any]:
        """What vLLM itself did so far: the lines of ``witness``."""
        return [json.loads(line) for line in self.witness_file.read_text().splitlines() if line.endswith("]")]

    def wait_for_step(self, after: float) -> None:
        """Until vLLM, which is at work, has begun to schedule a step after this moment of the monotonic clock."""
        deadline = time.monotonic() + STEP_SECONDS
        with self.witness_file.open("rb") as lines:
            while True:
                lines.seek(-min(WITNESS_TAIL, lines.seek(0, os.SEEK_END)), os.SEEK_END)
                whole = [line for line in lines.read().split(b"\n")[1:-1] if line.startswith(b'["schedule"')]
                if whole and json.loads(whole[-1])[1] > after:
                    return
                assert time.monotonic() < deadline, f"no step within {STEP_SECONDS:.0f} s"
                time.sleep(0.002)

    def kill_engine(self) -> None:
        """SIGKILL to EngineCore, as where memory runs out; returns when the API server has ended too."""
        assert self._process is not None
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = path.read_text().rpartition(")")[::2]
            except OSError:
                continue  # it has ended meanwhile
            # vLLM names its processes; the kernel keeps 15 characters.
            if "VLLM::EngineCor" in name and int(rest.split()[3]) == self._process.pid:
                os.kill(int(path.parent.name), signal.SIGKILL)
                self._process.wait(timeout=60)
                return
        raise AssertionError("no EngineCore process in the server's session")

    def metrics(self) -> str:
        """What vLLM's own port tells Prometheus."""
        return _ask("GET", self.port, "/metrics", None)[1].decode()

    def spec_decode_totals(self) -> tuple[int, int]:
        """vLLM's own counters: drafts verified, and the tokens in them."""
        text = self.metrics()
        found = [
            re.search(rf"^vllm:spec_decode_num_{name}_total{{.*}} (\S+)$", text, re.MULTILINE)
            for name in ("drafts", "draft_tokens")
        ]
        assert all(found), "vLLM's /metrics has no spec_decode series"
        drafts, tokens = (int(float(match.group(1))) for match in found if match)
        return drafts, tokens

    def _command(self) -> list[str]:
        return [
            *(str(vllm_venv() / "bin/vllm"), "serve", str(tiny_model()), "--served-model-name", "tiny"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--enforce-eager", "--dtype", "float32"),
            *("--kv-cache-memory-bytes", "67108864", "--max-model-len", "1024", "--max-num-seqs", "16"),
            *("--no-enable-prefix-caching", "--speculative-config", json.dumps(SPECULATION)),
        ]

    def _environment(self) -> dict[str, str]:
        environment = vllm_environment(self._folder, self.control_port)
        environment["PYTHONPATH"] += os.pathsep + str(_witness_plugin(self._folder))
        environment[witness.FILE] = str(self.witness_file)
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1" if self.engine_process else "0"
        return environment

    def _json(self, method: str, port: int, path: str, body: Any = None) -> Any:
        status, text = _ask(method, port, path, body)
        assert status == 200, f"{method} {path}: {status} {text.decode(errors='replace')[:500]}"
        return json.loads(text)


def vllm_venv() -> Path:
    """Fails, and does not skip, where vLLM is missing."""
    venv = Path(os.environ.get("TURBOSPEC_VLLM_VENV") or Path.home() / ".cache/turbospec/vllm")
    assert (venv / "bin/vllm").is_file(), f"no vLLM at {venv}: run `make test` or set TURBOSPEC_VLLM_VENV"
    return venv


def tiny_model() -> Path:
    """Fails, and does not skip, where the model is missing."""
    model = Path(os.environ.get("TURBOSPEC_TINY_MODEL") or Path.home() / ".cache/turbospec/models/tiny")
    assert (model / "config.json").is_file(), f"no model at {model}: run `make test` or set TURBOSPEC_TINY_MODEL"
    return model


def vllm_environment(folder: Path, control_port: int) -> dict[str, str]:
    """The environment of a vLLM with our runtime in it; its state is kept in ``folder``."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TURBOSPEC_", "VLLM_"))},
        "PYTHONPATH": str(folder / "turbospec.zip"),
        "TURBOSPEC_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "TURBOSPEC_CONTROL_HOST": "127.0.0.1",
        "TURBOSPEC_CONTROL_PORT": str(control_port),
        "TURBOSPEC_STATE_DIR": str(folder),
        "TURBOSPEC_KILL_FILE": str(folder / "off"),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",  # or n-gram drafting raises OpenMP's threads to the number of CPUs
        "HF_HUB_OFFLINE": "1",
    }


@contextmanager
def serve(folder: Path, *, engine_process: bool = False) -> Iterator[VllmServer]:
    """A server that has answered /health."""
    (folder / "turbospec.zip").write_bytes(build_runtime_zip())
    server = VllmServer(folder, engine_process=engine_process)
    try:
        server.start()
        yield server
    finally:
        server.end()


def _witness_plugin(folder: Path) -> Path:
    """A folder from which vLLM loads ``witness`` as a plugin."""
    plugin = folder / "plugin"
    info = plugin / "turbospec_witness-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (plugin / "turbospec_witness.py").write_text(Path(witness.__file__).read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: turbospec-witness\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[vllm.general_plugins]\nwitness = turbospec_witness:register\n")
    return plugin


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


def _ask(method: str, port: int, path: str, body: Any, token: str = TOKEN) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
