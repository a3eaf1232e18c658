"""``python -m benchmarks.engine.host_time``: what the hooks add between a step's tokens and the next dispatch.

vLLM's own scheduler and engine core run without a model; hooks are switched every 50 steps in one process. Limits are
those of the project: 99th percentile 20 us at batch 32 and 60 us at batch 256, rebuilds of the table included; and
inter-token times with 10 scrapes and 5 documents a second (``asked``) as without, and with 10 refused requests a second
(``hostile``), a quarter of them of 10 MB.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

from benchmarks.engine.load_client import CLIENTS, TOKEN
from turbospec_operator.runtime_bundle import build_runtime_zip

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("TURBOSPEC_CACHE") or Path.home() / ".cache/turbospec")
LIMIT_MICROSECONDS = {32: 20.0, 256: 60.0}
RESAMPLES = 300
BLOCK_STEPS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where a limit is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.engine.host_time", description=__doc__)
    parser.add_argument("--kinds", default="async,sync", help="async: as on a GPU, model runner V2; sync: as on a CPU")
    parser.add_argument("--blocks", type=int, default=60, help="blocks of 50 steps per batch and mode")
    parser.add_argument("--request-blocks", type=int, default=6, help="blocks of 6 s with and without requests")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpus": os.cpu_count()}
    met = True
    for kind in options.kinds.split(","):
        found = measure(kind, options.blocks, options.request_blocks)
        report[kind] = {batch: summary(rows) for batch, rows in found["batches"].items()}
        for mode in CLIENTS:
            report[f"{kind} {mode}"] = {batch: asked(rows, mode) for batch, rows in found["requests"].items()}
        for batch, row in report[kind].items():
            limit = LIMIT_MICROSECONDS.get(int(batch))
            within = limit is None or row["hooks"]["p99"] <= limit
            met &= within
            print(f"{kind} batch {batch}: {json.dumps(row)} limit {limit}: {'met' if within else 'MISSED'}")
        for mode, batch in product(CLIENTS, found["requests"]):
            row = report[f"{kind} {mode}"][batch]
            met &= row["unchanged"]
            print(f"{kind} batch {batch}, {mode}: {json.dumps(row)}")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if met else 1


def measure(kind: str, blocks: int, request_blocks: int) -> dict[str, Any]:
    """Runs the other half in vLLM's environment, with the runtime from a zip as in a pod."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "turbospec.zip").write_bytes(build_runtime_zip())
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("TURBOSPEC_", "VLLM_"))},
            "PYTHONPATH": os.pathsep.join((str(folder / "turbospec.zip"), str(ROOT))),
            "TURBOSPEC_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "TURBOSPEC_CONTROL_HOST": "127.0.0.1",
            "TURBOSPEC_CONTROL_PORT": "0",
            "TURBOSPEC_STATE_DIR": name,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "HF_HUB_OFFLINE": "1",
        }
        python = Path(os.environ.get("TURBOSPEC_VLLM_VENV") or CACHE / "vllm") / "bin/python"
        model = Path(os.environ.get("TURBOSPEC_TINY_MODEL") or CACHE / "models/tiny")
        command = [str(python), "-m", "benchmarks.engine.host_time_driven", str(model), kind, "32,256"]
        done = subprocess.run(
            [*command, str(blocks), str(request_blocks)],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            check=True,
        )
    result: dict[str, Any] = json.loads(done.stdout.decode().strip().splitlines()[-1])
    return result


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Microseconds. ``hooks``: our time between tokens and dispatch, by timers in place, without garbage collections
    that happen to begin there (``with collector`` has them; how often Python collects is told by ``collections``, per
    1,000 steps); ``behind``: what is done while the next step runs; ``difference``: median gap with hooks less that
    without, and its 90% interval."""
    on, off = rows["on"], rows["off"]
    chance = random.Random(1)  # noqa: S311 - resampling
    differences = sorted(
        quantile(_resampled(on, chance), 0.5) - quantile(_resampled(off, chance), 0.5) for _ in range(RESAMPLES)
    )
    middle = quantile(list(chain(*on)), 0.5) - quantile(list(chain(*off)), 0.5)
    return {
        "hooks": _quantiles(rows["net"]),
        "with collector": _quantiles(rows["exposed"]),
        "collections": {
            mode: round(1000 * count / (len(off) * BLOCK_STEPS), 1) for mode, count in rows["collections"].items()
        },
        "behind": _quantiles(rows["hidden"]),
        "gap without": _quantiles(off),
        "gap with": _quantiles(on),
        "difference": [_micro(one) for one in (quantile(differences, 0.05), middle, quantile(differences, 0.95))],
        "steps": sum(map(len, rows["exposed"])),
        "rebuilds": rows["rebuilds"],
    }


def asked(rows: dict[str, list[list[int]]], mode: str) -> dict[str, Any]:
    """Inter-token milliseconds; ``noise`` is the range of the 99th percentile over blocks without requests."""
    alone, with_requests = ([quantile(block, 0.99) / 1e6 for block in rows[name]] for name in ("alone", mode))
    p99 = [quantile(list(chain(*rows[name])), 0.99) / 1e6 for name in ("alone", mode)]
    median = [quantile(list(chain(*rows[name])), 0.5) / 1e6 for name in ("alone", mode)]
    return {
        f"p50 alone, {mode}": [round(one, 3) for one in median],
        f"p99 alone, {mode}": [round(one, 3) for one in p99],
        "noise": [round(min(alone), 3), round(max(alone), 3)],
        f"blocks {mode}": [round(one, 3) for one in with_requests],
        "unchanged": bool(quantile(with_requests, 0.5) <= max(alone)),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _quantiles(blocks: list[list[int]]) -> dict[str, float]:
    values = list(chain(*blocks))
    return {"p50": _micro(quantile(values, 0.5)), "p99": _micro(quantile(values, 0.99)), "max": _micro(max(values))}


def _resampled(blocks: list[list[int]], chance: random.Random) -> list[int]:
    return list(chain(*(chance.choice(blocks) for _ in blocks)))


def _micro(nanoseconds: float) -> float:
    return round(nanoseconds / 1e3, 1)


if __name__ == "__main__":
    sys.exit(main())
