"""``python -m benchmarks.engine.closed_loop``: goodput of real vLLM on this CPU, K chosen by TurboSpec against fixed K.

Two vLLM servers, one with TurboSpec and one without, of which one has load at a time; a profile measured by the
product's own profiling run; and closed-loop clients on loopback. Targets: the lower 90% bound at least 0.93 x the best
fixed K of each point, and at least 1.05 x the best single fixed K on the mix of all points.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from benchmarks.engine import closed_loop_report as report
from benchmarks.engine.closed_loop_schedule import (
    FULL,
    QUICK,
    ROUNDS_PER_VISIT,
    START_SECONDS,
    TABLES,
    Pace,
    Table,
    Window,
    expected_seconds,
    schedule,
)
from benchmarks.engine.closed_loop_servers import Place, Server, measure_profile, serve_both
from benchmarks.engine.closed_loop_windows import Bench
from e2e.cluster.progress import Progress as Say
from e2e.load.worker import REQUEST_SECONDS, Load
from e2e.models.store import ensure_model
from e2e.vllm.install import VLLM_VERSION, install
from turbospec.wire.profile_result import ProfileResult


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 once all is measured: a missed target is a result, and the table says so."""
    parser = argparse.ArgumentParser(prog="benchmarks.engine.closed_loop", description=__doc__)
    parser.add_argument(
        "--table", choices=list(TABLES), action="append", help="only this one; both where none is named"
    )
    parser.add_argument("--quick", action="store_true", help="a sample in four minutes, kept out of the results")
    parser.add_argument("--passes", type=_positive, help="passes over all points, of two rounds each")
    parser.add_argument(
        "--add", action="store_true", help="keep the rounds of earlier runs on the same machine, add to them"
    )
    parser.add_argument("--seed", type=int, default=1, help="order of points and arms")
    parser.add_argument("--document", action="store_true", help="put the tables of the results into docs/benchmarks.md")
    parser.add_argument("--table-only", action="store_true", help="run nothing: show what earlier runs left")
    options = parser.parse_args(arguments)
    # An end from outside must end the servers too: as an exception, which passes all that has to be cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    chosen = options.table or (["dial"] if options.quick else list(TABLES))
    for name in () if options.table_only else chosen:
        pace = QUICK if options.quick else FULL[name]
        if options.passes is not None:
            pace = replace(pace, passes=options.passes)
        run(TABLES[name], pace, options.seed, quick=options.quick, earlier=report.measured(name) if options.add else [])
    for name in chosen:
        report.show(name, quick=options.quick)
    if options.document:
        report.write_document()
    return 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One run over one table."""

    table: Table
    pace: Pace
    windows: Sequence[Window]

    def minutes_from(self, window: int) -> float:
        """About how long the windows from this one on take."""
        return expected_seconds(self.windows[window:], self.pace, self.table) / 60


def run(table: Table, pace: Pace, seed: int, *, quick: bool, earlier: list[report.Row]) -> None:
    """Measures one table and keeps its raw log and its summary, together with ``earlier`` windows of it."""
    say, began = Say(), time.monotonic()
    points = table.quick_points if quick else table.points
    done = max((row["round"] + 1 for row in earlier), default=0) // ROUNDS_PER_VISIT
    plan = Plan(table, pace, schedule(points, pace.passes, seed, done))
    minutes = plan.minutes_from(0) + (pace.profile_seconds + 2 * START_SECONDS) / 60
    say(f"{table.name}: {len(points)} points, {len(plan.windows)} windows, about {minutes:.0f} minutes")
    vllm = install(say)
    model = ensure_model(table.name, say, vllm)
    with tempfile.TemporaryDirectory(prefix="closed-loop-") as name:
        place = Place(vllm, model, table, Path(name))
        say(f"profiling run (about {START_SECONDS + pace.profile_seconds:.0f} s)")
        profile = measure_profile(place, pace.profile_seconds)
        say(f"profile measured in {profile.duration_seconds} s: {profile.coverage}")
        raw = report.raw_log(table.name, quick=quick)
        raw.parent.mkdir(parents=True, exist_ok=True)
        say(f"starting both servers (about {START_SECONDS:.0f} s); raw log: {raw}")
        with serve_both(place) as servers, raw.open("w", encoding="utf-8") as log:
            asyncio.run(_measure(servers, profile, plan, log))
    report.store(table.name, _facts(plan, profile, time.monotonic() - began), earlier, quick=quick)


async def _measure(servers: Mapping[str, Server], profile: ProfileResult, plan: Plan, log: TextIO) -> None:
    """One line of JSON into ``log`` for each window, as it ends."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    # Drawn seldom: it runs on the core of the clients.
    bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=1, transient=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
        load = Load(session)
        bench = Bench(servers, session, load, profile, plan.pace)
        with bar:
            task = bar.add_task("warm-up", total=len(plan.windows))
            await bench.warm_up(plan.table.points[0].style)
            for number, window in enumerate(plan.windows):
                left = f"about {plan.minutes_from(number):.0f} minutes left"
                bar.update(task, description=f"{window.point.name}, {window.arm.name}: {left}")
                log.write(json.dumps({"table": plan.table.name, **await bench.measure(window)}) + "\n")
                log.flush()
                bar.advance(task)
        load.hang_up()


def _facts(plan: Plan, profile: ProfileResult, seconds: float) -> dict[str, Any]:
    """What a reader of the figures must know of the run."""
    return {
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "minutes": round(seconds / 60, 1),
        "cpus": os.cpu_count(),
        "machine": _machine(),
        "vllm": VLLM_VERSION,
        "rounds": 1 + max(window.round for window in plan.windows),
        "windowSeconds": plan.pace.window_seconds,
        "settleSeconds": plan.pace.settle_seconds,
        "profile": {
            "seconds": profile.duration_seconds,
            "coverage": profile.coverage,
            "holdOutErrorPermille": profile.hold_out_error_permille,
        },
    }


def _machine() -> str:
    """The processor's name."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else "unknown processor"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
