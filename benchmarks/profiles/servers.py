"""vLLM on this CPU with SmolLM2, drafted by n-gram lookup or by a draft model: profiled by the product, then served."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.closed_loop_servers import (
    Server,
    environment_of,
    free_port,
    profiling_run,
    running,
    wait_until_healthy,
)
from e2e.vllm.install import VllmInstallation
from turbospec.wire.profile_result import ProfileResult
from turbospec_operator.injection_startup import startup_table

DRAFT_TOKENS = (0, 1, 3, 5)
MAX_NUM_SEQS = 16
MAX_MODEL_LEN = 1024
KV_CACHE_BYTES = 512 * 1024 * 1024
"""Room for 16 requests of 1,024 tokens of SmolLM2 and of its drafter."""
PROFILE_SECONDS = 240.0
"""What Jobs have by default."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured. ``drafter`` is None for n-gram lookup."""

    vllm: VllmInstallation
    model: Path
    drafter: Path | None
    folder: Path

    @property
    def method(self) -> str:
        return "draft_model" if self.drafter else "ngram"

    def command(self, port: int) -> list[str]:
        """The serving command, the same for profiling and for serving, as in a cluster."""
        rows = startup_table(DRAFT_TOKENS, MAX_NUM_SEQS)
        speculation: dict[str, object] = {
            "method": self.method,
            "num_speculative_tokens": DRAFT_TOKENS[-1],
            "num_speculative_tokens_per_batch_size": [list(row) for row in rows],
        }
        speculation |= (
            {"model": str(self.drafter)} if self.drafter else {"prompt_lookup_min": 2, "prompt_lookup_max": 4}
        )
        return [
            *(str(self.vllm.command), "serve", str(self.model), "--served-model-name", "subject"),
            *("--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16", "--enforce-eager"),
            *("--max-model-len", str(MAX_MODEL_LEN), "--max-num-seqs", str(MAX_NUM_SEQS)),
            *("--kv-cache-memory-bytes", str(KV_CACHE_BYTES), "--speculative-config", json.dumps(speculation)),
        ]


def profile(subject: Subject, seconds: float, plain_seconds: float = 0.0) -> tuple[ProfileResult, float]:
    """The product's own run, as its Job starts it, and the seconds from the process's start to its end.

    ``plain_seconds``: as TURBOSPEC_PROFILE_PLAIN_SECONDS; 0: no second start.

    Raises ServerError where it does not end in time, ``turbospec.profiling.codec.CodecError`` where it failed.
    """
    started = time.monotonic()
    found = profiling_run(
        subject.vllm, subject.folder, subject.command, DRAFT_TOKENS, seconds, plain_seconds=plain_seconds
    )
    return found, time.monotonic() - started


@contextmanager
def serve(subject: Subject) -> Iterator[Server]:
    """The same engine, started anew with TurboSpec in it. Raises ServerError where it does not serve in time."""
    server, log = Server(free_port(), free_port(), secrets.token_hex(16)), subject.folder / "serve.log"
    environment = environment_of(subject.vllm, subject.folder, server)
    with running(subject.command(server.port), environment, log) as process:
        wait_until_healthy(server.port, process, log)
        yield server
