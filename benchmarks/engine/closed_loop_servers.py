"""The vLLM servers of the closed-loop benchmark, and the profile that TurboSpec measures on them. Loopback only."""

import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine.closed_loop_schedule import DRAFT_TOKENS, PLAIN, STEERED, Table
from e2e.load.requests import SERVED_MODEL
from e2e.vllm.install import VllmInstallation
from turbospec.profiling.codec import decode
from turbospec.wire.profile_result import ProfileResult
from turbospec_operator.injection_startup import startup_table
from turbospec_operator.runtime_bundle import build_runtime_zip

MAX_NUM_SEQS = 32
MAX_MODEL_LEN = 512
"""The longest prompt of both tables and its answer fit."""
KV_CACHE_BYTES = 1280 * 1024 * 1024
"""Room for 32 requests of 512 tokens on the wider model (69 kB a token): nothing is ever preempted."""
START_SECONDS = 300.0
PROFILE_MARGIN_SECONDS = 120.0
"""How long beyond its own limit a profiling run may take to warm up, finish its cell and end."""


@dataclass(frozen=True, slots=True)
class Place:
    """What all servers of a table share."""

    vllm: VllmInstallation
    model: Path
    table: Table
    folder: Path


@dataclass(frozen=True, slots=True)
class Server:
    """A vLLM that answers /health. ``control_port`` is None where TurboSpec is not in it."""

    port: int
    control_port: int | None
    token: str


class ServerError(Exception):
    """A server did not start or ended; the message holds the end of its log."""


@contextmanager
def serve_both(place: Place) -> Iterator[dict[str, Server]]:
    """Both servers by name: with TurboSpec and a start-up table of all K, and plain with the largest K and no table.

    Raises ServerError where one does not answer /health in time.
    """
    servers = {
        STEERED: Server(free_port(), free_port(), secrets.token_hex(16)),
        PLAIN: Server(free_port(), None, ""),
    }
    with contextlib.ExitStack() as stack:
        started = []
        for name, server in servers.items():
            steered, log = server.control_port is not None, place.folder / f"{name}.log"
            command = _command(place, server.port, steered=steered)
            environment = environment_of(place.vllm, place.folder, server if steered else None)
            started.append((server.port, stack.enter_context(running(command, environment, log)), log))
        for port, process, log in started:
            wait_until_healthy(port, process, log)
        yield servers


def measure_profile(place: Place, seconds: float) -> ProfileResult:
    """``profiling_run`` with the command of the server that has TurboSpec in it."""

    def command(port: int) -> list[str]:
        return _command(place, port, steered=True)

    return profiling_run(place.vllm, place.folder, command, DRAFT_TOKENS, seconds)


def profiling_run(
    vllm: VllmInstallation,
    folder: Path,
    command: Callable[[int], list[str]],
    draft_tokens: Sequence[int],
    seconds: float,
    *,
    plain_seconds: float = 0.0,
) -> ProfileResult:
    """The product's own profiling run, as its Job starts it: the serving command, by port, with TURBOSPEC_PROFILE=1.

    ``plain_seconds``: how long after the first start one without speculation must be over; 0 leaves it out.

    Raises ServerError where it does not end in time, ``turbospec.profiling.codec.CodecError`` where it failed.
    """
    server = Server(free_port(), free_port(), "")
    message, log = folder / "termination-log", folder / "profile.log"
    message.unlink(missing_ok=True)
    environment = environment_of(vllm, folder, server) | {
        "TURBOSPEC_PROFILE": "1",
        "TURBOSPEC_PROFILE_SECONDS": str(seconds),
        "TURBOSPEC_PROFILE_START_SECONDS": str(START_SECONDS),
        "TURBOSPEC_PROFILE_PLAIN_SECONDS": str(plain_seconds),
        "TURBOSPEC_PROFILE_DRAFT_TOKENS": ",".join(map(str, draft_tokens)),
        "TURBOSPEC_TERMINATION_LOG": str(message),
    }
    with running(command(server.port), environment, log) as process:
        try:
            process.wait(START_SECONDS + 2 * seconds + plain_seconds + PROFILE_MARGIN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"the profiling run did not end:\n{log_tail(log)}") from error
    if not message.exists():
        raise ServerError(f"the profiling run ended without a word:\n{log_tail(log)}")
    return decode(message.read_text(encoding="ascii"))


def _command(place: Place, port: int, *, steered: bool) -> list[str]:
    largest = DRAFT_TOKENS[-1]
    speculation: dict[str, Any] = {
        "method": "ngram",
        "num_speculative_tokens": largest,
        "prompt_lookup_min": place.table.prompt_lookup_min,
        "prompt_lookup_max": 4,
    }
    if steered:
        rows = startup_table(DRAFT_TOKENS, MAX_NUM_SEQS)
        speculation["num_speculative_tokens_per_batch_size"] = [list(row) for row in rows]
    return [
        *(str(place.vllm.command), "serve", str(place.model), "--served-model-name", SERVED_MODEL),
        *("--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16", "--enforce-eager"),
        *("--max-model-len", str(MAX_MODEL_LEN), "--max-num-seqs", str(MAX_NUM_SEQS)),
        # small prefill chunks: one of 512 tokens would hold all answers up for a second on one CPU thread
        *("--max-num-batched-tokens", "256", "--kv-cache-memory-bytes", str(KV_CACHE_BYTES)),
        # every arm sends the same prompts
        *("--no-enable-prefix-caching", "--speculative-config", json.dumps(speculation)),
    ]


def environment_of(vllm: VllmInstallation, folder: Path, steered: Server | None) -> dict[str, str]:
    """One thread of computation: the clients and vLLM's front end run on the other core."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TURBOSPEC_", "VLLM_"))}
    kept.pop("PYTHONPATH", None)
    common = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # or every server binds its thread to the first core
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",  # or n-gram drafting raises OpenMP's threads to the number of CPUs
        "LD_PRELOAD": str(vllm.openmp),
    }
    if steered is None:
        return kept | common
    bundle = folder / "turbospec.zip"
    bundle.write_bytes(build_runtime_zip())
    state = folder / f"state-{steered.port}"
    state.mkdir()
    return (
        kept
        | common
        | {
            "PYTHONPATH": str(bundle),
            "TURBOSPEC_TOKEN_SHA256": hashlib.sha256(steered.token.encode()).hexdigest(),
            "TURBOSPEC_CONTROL_HOST": "127.0.0.1",
            "TURBOSPEC_CONTROL_PORT": str(steered.control_port),
            "TURBOSPEC_STATE_DIR": str(state),
            "TURBOSPEC_KILL_FILE": str(state / "off"),
        }
    )


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, all of which is ended at the end of the context."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole session of a server, whose leader may be dead already."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def wait_until_healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises ServerError, with the end of the log, where the server ends or does not answer /health in time."""
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.5)
    raise ServerError(f"vLLM did not start:\n{log_tail(log)}")


def log_tail(log: Path) -> str:
    """The last words of a server."""
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
