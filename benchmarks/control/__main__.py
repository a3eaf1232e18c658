"""``python -m benchmarks.control``: run the six lines and print what they reached."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.control import line1, line2, line3, line4, line5, line6, report
from benchmarks.control.lines import Part, Task

LINES: dict[int, ModuleType] = {1: line1, 2: line2, 3: line3, 4: line4, 5: line5, 6: line6}
ALONE = 6
"""Measures time: nothing else of ours runs beside it."""


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 once all is measured: a missed target is a result, and the table says so."""
    parser = argparse.ArgumentParser(prog="benchmarks.control", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sample of each line, under three minutes")
    parser.add_argument("--lines", type=_numbers, default=tuple(LINES), help="only these, for instance 1,4")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--table-only", action="store_true", help="run nothing: the table of what earlier runs left")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    for line in () if options.table_only else options.lines:
        before = time.monotonic()
        rows = run_all(LINES[line].tasks(quick=options.quick), line, options.jobs)
        report.store(report.Stored(line, options.quick, time.monotonic() - before, rows))
    # A line that only ever ran in quick mode is better than none; the document says which.
    found = [
        report.stored(line, quick=options.quick) or report.stored(line, quick=True)
        for line in (options.lines if options.quick else LINES)
    ]
    known = [one for one in found if one is not None]
    parts: list[Part] = [part for one in known for part in LINES[one.line].parts(one.rows)]
    report.show(parts, details=True)
    if options.document:
        report.write_document(parts, known)
    missed = sum(not part.met for part in parts)
    seconds = time.monotonic() - started
    print(f"\n{len(parts) - missed} of {len(parts)} targets met, {seconds:.0f} s; all rows in {report.RESULTS}")
    return 0


def run_all(tasks: Sequence[Task], line: int, jobs: int) -> list[dict[str, Any]]:
    """The rows of all tasks of a line."""
    rows: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        progress = bar.add_task(f"line {line}", total=len(tasks))
        with ProcessPoolExecutor(max_workers=1 if line == ALONE else jobs) as pool:
            for future in as_completed([pool.submit(_run, task) for task in tasks]):
                rows += future.result()
                bar.advance(progress)
    return rows


def _run(task: Task) -> list[dict[str, Any]]:
    return task.function(*task.arguments)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if not set(numbers) <= set(LINES):
        raise argparse.ArgumentTypeError(f"lines are {', '.join(map(str, LINES))}")
    return numbers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
