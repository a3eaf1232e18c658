"""``python -m benchmarks.fleet``: tune and run all arms, and print what they reached."""

import argparse
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
from benchmarks.fleet import cases, frontier, lines, verdict
from benchmarks.fleet.cases import FULL, NAMES, QUICK, RESULTS, SEEDS, Case

PICTURE = ROOT / "docs" / "images" / "fleet-frontier.png"
QUICK_SEEDS = SEEDS[:2]


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 once all is measured: a missed target is a result, and the table says so."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what the targets are judged by, diurnal only, two seeds")
    parser.add_argument("--scenarios", type=_names, default=None, help="only these, for instance diurnal,azure")
    parser.add_argument("--first", type=int, default=None, metavar="N", help="only the first N arms of each scenario")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--document", action="store_true", help="put tables and picture into docs/")
    parser.add_argument("--table-only", action="store_true", help="run nothing: the tables of what earlier runs left")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    wanted = options.scenarios or (NAMES[:1] if options.quick else NAMES)
    names = [name for name in wanted if cases.there(name)]
    for name in set(wanted) - set(names):
        print(f"{name}: left out, its trace is not there", file=sys.stderr)
    made = {name: cases.made_by(name) for name in names}
    chosen = QUICK if options.quick else FULL[: options.first]
    todo = [Case(name, arm, metric.value) for arm, metric in chosen for name in names]
    if not options.table_only:
        lines.run_all(options.jobs, quick=options.quick)
        _run_all(todo, QUICK_SEEDS if options.quick else SEEDS, made, options.jobs)
    every = [Case(name, arm, metric.value) for name in names for arm, metric in dict.fromkeys((*FULL, *QUICK))]
    rows = [row for case in every for row in cases.rows(case, None if options.table_only else made[case.scenario])]
    parts = [*(part for name in names for part in verdict.parts(rows, name)), *lines.parts()]
    _show(parts)
    if options.document:
        _write_document(parts, rows, names)
    met = sum(part.met for part in parts)
    print(f"\n{met} of {len(parts)} targets met, {time.monotonic() - started:.0f} s; all rows in {RESULTS}")
    return 0


def _run_all(todo: Sequence[Case], seeds: Sequence[int], made: dict[str, str], jobs: int) -> None:
    """Every run is on disk as soon as it is done: who stops it and starts it again goes on from there."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        progress = bar.add_task("arms", total=len(todo))
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            for future in as_completed([pool.submit(cases.measure, c, seeds, made[c.scenario]) for c in todo]):
                future.result()
                bar.advance(progress)


def _show(parts: Sequence[Part]) -> None:
    table = Table(title="fleet: measured against target")
    for heading in ("asked", "measured", "met"):
        table.add_column(heading)
    for part in parts:
        table.add_row(part.asked, part.measured, "yes" if part.met else "NO")
    Console().print(table)


def _write_document(parts: Sequence[Part], rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    text = ["| asked | measured | met |", "| --- | --- | --- |"]
    text += [f"| {part.asked} | {part.measured} | {'yes' if part.met else '**no**'} |" for part in parts]
    measured = [name for name in names if verdict.cells(rows, name)]
    for name in names:
        text += ["", f"`{name}`: {cases.words(name)}."]
        if name not in measured:
            text += ["Not measured."]
            continue
        text += ["", *verdict.table(rows, name)]
        missing = _missing(rows, name)
        if missing:
            text += ["", f"Not measured, or not on all {len(SEEDS)} seeds: {', '.join(missing)}."]
    frontier.draw(rows, measured, PICTURE)
    text += ["", "![Misses against replica-hours, from the targets that tuning tried](images/fleet-frontier.png)"]
    write_between("fleet results", text)


def _missing(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    found = verdict.cells(rows, name)
    return [
        f"`{arm}` on {metric.value}" for arm, metric in FULL if len(found.get((arm, metric.value), ())) < len(SEEDS)
    ]


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(NAMES):
        raise argparse.ArgumentTypeError(f"scenarios are {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
