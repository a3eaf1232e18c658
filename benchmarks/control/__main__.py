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

Rows = dict[int, list[dict[str, Any]]]


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 where every line that ran is met; misses are part of the result and do not hide it."""
    parser = argparse.ArgumentParser(prog="benchmarks.control", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sample of each line, under three minutes")
    parser.add_argument("--lines", type=_numbers, default=tuple(LINES), help="only these, for instance 1,4")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    tasks = [task for line in options.lines for task in LINES[line].tasks(quick=options.quick)]
    rows = run_all(tasks, options.jobs)
    parts: list[Part] = [part for line in options.lines for part in LINES[line].parts(rows.get(line, []))]
    report.show(parts, details=True)
    path = report.write_json(parts, rows, options.quick)
    seconds = time.monotonic() - started
    if options.document:
        report.write_document(parts, seconds)
    missed = sum(not part.met for part in parts)
    print(f"\n{len(parts) - missed} of {len(parts)} targets met in {seconds:.0f} s; rows in {path}")
    return 0


def run_all(tasks: Sequence[Task], jobs: int) -> Rows:
    """The rows of all tasks, by line."""
    rows: Rows = {}
    alone = [task for task in tasks if task.line == ALONE]
    together = [task for task in tasks if task.line != ALONE]
    with Progress(console=Console(stderr=True), transient=True) as bar:
        progress = bar.add_task("simulating", total=len(tasks))
        for task in alone:
            rows.setdefault(task.line, []).extend(_run(task))
            bar.advance(progress)
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            futures = {pool.submit(_run, task): task for task in together}
            for future in as_completed(futures):
                rows.setdefault(futures[future].line, []).extend(future.result())
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
