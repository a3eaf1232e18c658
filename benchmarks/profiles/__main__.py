"""``python -m benchmarks.profiles``: a profile made by the product on real vLLM, against steps that it has not seen.

SmolLM2 on this CPU, drafted by n-gram lookup and by a draft model. Targets: the median error of each K within 8%
(n-gram) and 15% (draft model) of the medians of at least five repeats; the run under five minutes after vLLM serves.
Wants an idle machine: one core computes, the other serves and measures.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.document import write_between
from benchmarks.profiles.drafter import make_drafter
from benchmarks.profiles.held_out import FEWEST_REPEATS, Found, compare, measure_repeats
from benchmarks.profiles.servers import DRAFT_TOKENS, MAX_MODEL_LEN, PROFILE_SECONDS, Subject, profile, serve
from e2e.cluster.progress import Progress as Say
from e2e.models.store import ensure_model
from e2e.vllm.install import VLLM_VERSION, install
from turbospec.profiling.client import ControlClient, ServingClient
from turbospec.profiling.grid import OUTPUT_TOKENS
from turbospec.profiling.load import LoadGenerator
from turbospec.profiling.measure import Meter
from turbospec.profiling.prompts import grow_corpus
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.profile_result import ProfileResult

TARGETS = {"ngram": 0.08, "draft_model": 0.15}
RUN_TARGET_SECONDS = 300
REPEATS = 5
CORPUS_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One method's profile, and what came of it."""

    method: str
    result: ProfileResult
    seconds: float
    found: list[Found]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 once all is measured: a missed target is a result, and the table says so."""
    parser = argparse.ArgumentParser(prog="benchmarks.profiles", description=__doc__)
    parser.add_argument("--method", choices=list(TARGETS), action="append", help="only this one; both where none is")
    parser.add_argument("--seconds", type=float, default=PROFILE_SECONDS, help="time of the sweep")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of every held-out point, at least 3")
    parser.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.repeats < FEWEST_REPEATS:
        parser.error(f"at least {FEWEST_REPEATS} repeats are needed to tell noise from error")
    # An end from outside must end the servers too: as an exception, which passes all that has to be cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    say = Say()
    lines: list[str] = []
    for method in options.method or TARGETS:
        with tempfile.TemporaryDirectory(prefix="turbospec-bench-") as folder:
            lines += report(run(method, Path(folder), options.seconds, options.repeats, say))
    print("\n".join([*HEAD, *lines]))
    if options.document:
        write_between("profiles", [*HEAD, *lines])
    return 0


def run(method: str, folder: Path, seconds: float, repeats: int, say: Say) -> Outcome:
    """Profile, serve again, measure the held-out points, compare."""
    vllm = install(say)
    model = ensure_model("smollm2", say, vllm)
    drafter = make_drafter(model, folder / "drafter") if method == "draft_model" else None
    subject = Subject(vllm, model, drafter, folder)
    say(f"{method}: profiling for at most {seconds:.0f} s after vLLM serves")
    result, took = profile(subject, seconds)
    say(f"{method}: {result.coverage}; {repeats} repeats of held-out points")
    with serve(subject) as server:
        serving, control = ServingClient(server.port), ControlClient(server.control_port or 0, server.token)
        name, state = serving.model(), control.state()
        tokens = min(OUTPUT_TOKENS, MAX_MODEL_LEN // 2)
        corpus = grow_corpus(lambda seed, count: serving.complete(name, seed, count, CORPUS_SECONDS), tokens)
        with LoadGenerator(server.port) as load:
            meter = Meter(control, load, corpus, name, state.limits.max_num_seqs)
            steps = measure_repeats(meter, DRAFT_TOKENS, repeats, state.limits.max_num_seqs, say)
    document = LatencyDocument(cells=result.cells, fit=result.fit)
    return Outcome(method, result, took, compare(to_model(document), steps))


HEAD = (
    f"vLLM {VLLM_VERSION}, SmolLM2-135M, eager bfloat16, one thread; draft model: its first six layers.",
    "",
    "| method | K | median error | target | worst point | T(K)/T(0) | repeat against repeat | met |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)


def report(outcome: Outcome) -> list[str]:
    """Rows of the table, and a line on the run."""
    target, result = TARGETS[outcome.method], outcome.result
    rows = [
        f"| {outcome.method} | {one.draft_tokens} | {one.error:.1%} | {target:.0%} | {one.worst:.1%} "
        f"| {one.ratio:.1%} | {one.noise:.1%} | {'yes' if one.error <= target else '**no**'} |"
        for one in outcome.found
    ]
    in_time = "yes" if result.duration_seconds < RUN_TARGET_SECONDS else "**no**"
    return [
        *rows,
        f"| {outcome.method} | run | {result.duration_seconds} s after vLLM served | {RUN_TARGET_SECONDS} s "
        f"| {outcome.seconds:.0f} s with its start | | {result.coverage} | {in_time} |",
    ]


if __name__ == "__main__":
    sys.exit(main())
