"""``python -m benchmarks.profiles.plain_start``: an engine without its drafter, as the profiling Job measures it.

SmolLM2 on this CPU with n-gram drafts, profiled by the product and started a second time without speculation, within
the time that Jobs have by default. Wants an idle machine: one core computes, the other serves and measures.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.document import write_between
from benchmarks.profiles.servers import Subject, profile
from e2e.cluster.progress import Progress as Say
from e2e.models.store import ensure_model
from e2e.vllm.install import VLLM_VERSION, install
from turbospec.cli.profile.compare import beside_plain
from turbospec.profiling.variables import DEFAULT_PLAIN_SECONDS
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.profile_result import ProfileResult

SECONDS = 120.0
"""Of the first sweep: it leaves the second start as much as it wants."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where the second start did not come to a result."""
    parser = argparse.ArgumentParser(prog="benchmarks.profiles.plain_start", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of the first sweep")
    parser.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    # An end from outside must end the servers too: as an exception, which passes all that has to be cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    say = Say()
    vllm = install(say)
    model = ensure_model("smollm2", say, vllm)
    with tempfile.TemporaryDirectory(prefix="turbospec-bench-") as folder:
        say(f"profiling for at most {options.seconds:.0f} s, then a second start without speculation")
        result, took = profile(Subject(vllm, model, None, Path(folder)), options.seconds, DEFAULT_PLAIN_SECONDS)
    if result.plain is None:
        print(
            f"no second start: the first run took {result.duration_seconds} s after a start of {result.start_seconds} s"
        )
        return 1
    lines = report(result, took)
    print("\n".join(lines))
    if options.document:
        write_between("plain start", lines)
    return 0


def report(result: ProfileResult, took: float) -> list[str]:
    """The table of docs/benchmarks.md, with a line before it on the run and on the engines."""
    if result.plain is None:
        return []
    ratios = beside_plain(to_model(LatencyDocument(cells=result.cells, fit=result.fit)), result.plain)
    rows = [
        f"| {one.batch} | {one.context_tokens} | {1e3 * one.plain:.1f} ms | {1e3 * one.speculating:.1f} ms "
        f"| {one.faster:+.0%} |"
        for one in ratios
    ]
    return [
        f"vLLM {VLLM_VERSION}, SmolLM2-135M, ngram, eager bfloat16, one thread: {took:.0f} s in all, "
        f"{result.duration_seconds} s of them the first run's after vLLM served.",
        f"KV cache {result.plain.kv_cache_tokens} tokens without speculation, {result.kv_cache_tokens} with it; start "
        f"{result.plain.start_seconds} s and {result.start_seconds} s; plain faster by "
        f"{median(one.faster for one in ratios):+.1%} in the median.",
        "",
        "| batch | context | plain | K = 0 | plain is faster by |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]


if __name__ == "__main__":
    sys.exit(main())
