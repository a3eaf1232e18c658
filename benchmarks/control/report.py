"""The table of the six lines: on the terminal, as JSON, and in docs/benchmarks.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.control.lines import Part

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench-control"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


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


def write_json(parts: Sequence[Part], rows: dict[int, list[dict[str, Any]]], quick: bool) -> Path:
    """All rows and the table, in build/."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / ("quick.json" if quick else "full.json")
    data = {"table": [asdict(part) for part in parts], "rows": {str(line): found for line, found in rows.items()}}
    path.write_text(json.dumps(data, indent=1, default=str), encoding="utf-8")
    return path


def write_document(parts: Sequence[Part], seconds: float) -> None:
    """Put the table between the marks in docs/benchmarks.md."""
    lines = [
        "",
        f"One full run, {seconds / 60:.0f} minutes:",
        "",
        "| line | asked | measured | met |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {p.line} | {_cell(p.asked)} | {_cell(p.measured)} | {'yes' if p.met else '**no**'} |" for p in parts]
    lines += ["", "Worst cases of each:", ""]
    for part in parts:
        if part.worst:
            lines.append(f"- {part.line}, {part.asked}:")
            lines += [f"  - {text}" for text in part.worst]
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    DOCUMENT.write_text(head + BEGIN + "\n".join([*lines, "", ""]) + END + tail, encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
