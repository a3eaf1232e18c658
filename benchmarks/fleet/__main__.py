"""``python -m benchmarks.fleet``: tune and run all arms, and print what they reached."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.control.lines import Part
from benchmarks.control.report import ROOT
from benchmarks.document import write_between
from benchmarks.fleet import cases, frontier, verdict
from benchmarks.fleet.cases import FULL, NAMES, QUICK, SEEDS, Case

RESULTS = ROOT / "build" / "bench-fleet"
PICTURE = ROOT / "docs" / "images" / "fleet-frontier.png"


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 once all is measured: a missed target is a result, and the table says so."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="our signal and running requests only, two seeds")
    parser.add_argument("--scenarios", type=_names, default=NAMES, help="only these, for instance diurnal,azure")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--document", action="store_true", help="put tables and picture into docs/")
    parser.add_argument("--table-only", action="store_true", help="run nothing: the tables of what earlier runs left")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    names = [name for name in options.scenarios if cases.there(name)]
    for name in set(options.scenarios) - set(names):
        print(f"{name}: left out, its trace is not there", file=sys.stderr)
    if not options.table_only:
        _run_all(names, quick=options.quick, jobs=options.jobs)
    rows = [row for path in sorted(RESULTS.glob("*.json")) for row in json.loads(path.read_text(encoding="utf-8"))]
    parts = [part for name in names for part in verdict.parts(rows, name)]
    _show(parts)
    if options.document:
        _write_document(parts, rows, names)
    met = sum(part.met for part in parts)
    print(f"\n{met} of {len(parts)} targets met, {time.monotonic() - started:.0f} s; all rows in {RESULTS}")
    return 0


def _run_all(names: Sequence[str], *, quick: bool, jobs: int) -> None:
    """Every case in a file of its own, as soon as it is done."""
    seeds = SEEDS[:2] if quick else SEEDS
    todo = [Case(name, arm, metric.value) for name in names for arm, metric in (QUICK if quick else FULL)]
    RESULTS.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        progress = bar.add_task("arms", total=len(todo))
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            running = {pool.submit(cases.measure, case, seeds): case for case in todo}
            for future in as_completed(running):
                case, rows = running[future], future.result()
                name = f"{case.scenario}-{case.arm.replace(':', '-')}-{case.metric}.json"
                (RESULTS / name).write_text(json.dumps(rows, indent=1), encoding="utf-8")
                bar.advance(progress)


def _show(parts: Sequence[Part]) -> None:
    table = Table(title="fleet: measured against target")
    for heading in ("asked", "measured", "met"):
        table.add_column(heading)
    for part in parts:
        table.add_row(part.asked, part.measured, "yes" if part.met else "NO")
    Console().print(table)


def _write_document(parts: Sequence[Part], rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    lines = ["| asked | measured | met |", "| --- | --- | --- |"]
    lines += [f"| {part.asked} | {part.measured} | {'yes' if part.met else '**no**'} |" for part in parts]
    for name in names:
        judged = verdict.cases(rows, name)
        seeds = max((len(found) for found in judged.values()), default=0)
        lines += ["", f"`{name}`, {seeds} seeds:", "", *verdict.table(rows, name)]
    frontier.draw(rows, names, PICTURE)
    lines += ["", "![Misses against replica-hours, from the targets that tuning tried](images/fleet-frontier.png)"]
    write_between("fleet results", lines)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(NAMES):
        raise argparse.ArgumentTypeError(f"scenarios are {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
