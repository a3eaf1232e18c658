"""The table of the six lines: on the terminal, as JSON, and in docs/benchmarks.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.control.lines import Part
from benchmarks.document import cell, write_between

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench-control"


def show(parts: Sequence[Part], *, details: bool) -> None:
    """Print the table, and the worst cases under it."""
    table = Table(title="control: measured against target")
    for heading in ("line", "asked", "measured", "met"):
        table.add_column(heading)
    for part in parts:
        table.add_row(str(part.line), part.asked, part.measured, "yes" if part.met else "NO")
    console = Console()
    console.print(table)
    for part in parts if details else ():
        if part.worst:
            console.print(f"\n{part.line}. {part.asked}", style="bold")
            for text in part.worst:
                console.print(f"   {text}", highlight=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows of one line, and how they came about."""

    line: int
    quick: bool
    seconds: float
    rows: list[dict[str, Any]]


def store(found: Stored) -> None:
    """Keep the rows of a line in build/, in place of those that were there."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = f"{'quick' if found.quick else 'full'}-line{found.line}.json"
    (RESULTS / name).write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")


def stored(line: int, *, quick: bool) -> Stored | None:
    """What was kept of a line."""
    path = RESULTS / f"{'quick' if quick else 'full'}-line{line}.json"
    return Stored(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def write_document(parts: Sequence[Part], found: Sequence[Stored]) -> None:
    """Put the table between the marks in docs/benchmarks.md."""
    sampled = [str(one.line) for one in found if one.quick]
    minutes = sum(one.seconds for one in found) / 60
    note = f" Lines {', '.join(sampled)} are a sample (quick mode)." if sampled else ""
    lines = [f"From a run of {minutes:.0f} minutes.{note}", ""]
    lines += ["| line | asked | measured | met |", "| --- | --- | --- | --- |"]
    lines += [f"| {p.line} | {cell(p.asked)} | {cell(p.measured)} | {'yes' if p.met else '**no**'} |" for p in parts]
    lines += ["", "The worst cases, worst first:", ""]
    for part in parts:
        if part.worst:
            lines.append(f"- line {part.line}, {part.asked}:")
            lines += [f"  - {text}" for text in part.worst]
    write_between("results", lines)
