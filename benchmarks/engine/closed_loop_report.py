"""The closed-loop benchmark's raw log, summary, and tables: on the terminal, and in docs/benchmarks.md."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.document import write_between
from benchmarks.engine.closed_loop_schedule import ARMS, LOOP, TABLES
from benchmarks.engine.closed_loop_statistics import (
    Comparison,
    Raw,
    adjusted,
    compare_mix,
    compare_point,
    plain,
    prefill_seconds,
)

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench-closed-loop"
RESULTS = ROOT / "benchmarks" / "results"
RAW, SUMMARY = RESULTS / "closed_loop.jsonl", RESULTS / "closed_loop.json"
COLUMNS = 132
POINT_TARGET, MIX_TARGET = 0.93, 1.05
Row = dict[str, Any]


def raw_log(table: str, *, quick: bool) -> Path:
    """Where a run writes its windows as it goes."""
    return BUILD / f"{'quick' if quick else 'full'}-{table}.jsonl"


def measured(table: str) -> list[Row]:
    """The windows of this table that the results hold."""
    return [row for row in _windows(RAW) if row["table"] == table]


def store(table: str, facts: Row, earlier: list[Row], *, quick: bool) -> None:
    """Keep the summary of ``earlier`` windows and the raw log; a full run's also in the results, in place of what they
    held of this table. ``minutes`` of the facts are of the last run."""
    rows = [*earlier, *_windows(raw_log(table, quick=quick))]
    summary = summarise(rows, facts)
    _write(_summary_path(table, quick=quick), summary)
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    kept = [row for row in _windows(RAW) if row["table"] != table]
    RAW.write_text("".join(json.dumps(row) + "\n" for row in [*kept, *rows]), encoding="utf-8")
    _write(SUMMARY, (_read(SUMMARY) or {}) | {table: summary})


def summarise(rows: list[Row], facts: Row) -> Row:
    """The summary of one table's windows: every point, and the mix of all of them."""
    raw = [
        Raw(row["point"], row["arm"], row["round"], row["tokens"], row["promptTokens"], row["seconds"]) for row in rows
    ]
    counted, fair = plain(raw), adjusted(raw)
    order = [point.name for table in TABLES.values() for point in table.points]
    names = sorted({row["point"] for row in rows}, key=order.index)
    return {
        **facts,
        "failedRequests": sum(row["failedRequests"] for row in rows),
        "meanExcludedSeconds": round(fmean(row["excludedSeconds"] for row in rows), 2),
        "millisecondsPerPromptToken": round(1e3 * prefill_seconds(raw), 3),
        "points": [
            {
                **_point(name, [row for row in rows if row["point"] == name]),
                **_compared(compare_point([row for row in fair if row.point == name]), POINT_TARGET),
                "asCounted": _compared(compare_point([row for row in counted if row.point == name]), POINT_TARGET),
            }
            for name in names
        ],
        "mix": _compared(compare_mix(fair), MIX_TARGET) | {"asCounted": _compared(compare_mix(counted), MIX_TARGET)},
    }


def show(table: str, *, quick: bool) -> None:
    """Print the table of the last run, if there was one."""
    summary = _read(_summary_path(table, quick=quick)) or (None if quick else (_read(SUMMARY) or {}).get(table))
    if summary is None:
        print(f"{table}: nothing has been measured yet")
        return
    heading, rows = table_rows(summary)
    shown = RichTable(title=f"{table}: tokens/s by arm, {facts_line(summary)}")
    for name in heading:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*row)
    # Never narrower than the table: where there is no terminal, 80 columns would cut the figures off.
    Console(width=max(Console().width, COLUMNS)).print(shown)


def table_rows(summary: Row) -> tuple[list[str], list[list[str]]]:
    """Heading and rows, the mix last."""
    heading = ["point", *(arm.name for arm in ARMS), "mean K", "best fixed", "ratio", "lower 90%", "target", "met"]
    rows = [
        _cells(point, point["point"], f"{point['meanDraftTokens']:.1f}", POINT_TARGET) for point in summary["points"]
    ]
    return heading, [*rows, _cells(summary["mix"], "mix", "", MIX_TARGET)]


def facts_line(summary: Row) -> str:
    """How it was measured, in a line."""
    return (
        f"{summary['rounds']} rounds of {summary['windowSeconds']} s, {summary['cpus']} x {summary['machine']}, "
        f"vLLM {summary['vllm']}, {summary['minutes']} minutes, {summary['failedRequests']} failed requests"
    )


def write_document() -> None:
    """Put the tables of the results between the marks in docs/benchmarks.md."""
    found = _read(SUMMARY) or {}
    lines: list[str] = []
    for name in TABLES:
        if name not in found:
            lines += [f"`{name}`: not measured yet.", ""]
            continue
        heading, rows = table_rows(found[name])
        lines += [f"`{name}`, tokens/s by arm: {facts_line(found[name])}.", ""]
        lines += [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]
        lines.append("")
    write_between("closed loop", lines[:-1])


def _point(name: str, rows: list[Row]) -> Row:
    loop = [row["meanDraftTokens"] for row in rows if row["arm"] == LOOP.name]
    drafted = sum(row["draftTokens"] for row in rows)
    return {
        "point": name,
        "style": rows[0]["style"],
        "clients": rows[0]["clients"],
        "meanDraftTokens": round(fmean(k for k in loop if k is not None), 2),
        "acceptanceRate": round(sum(row["acceptedTokens"] for row in rows) / drafted, 3) if drafted else None,
    }


def _compared(found: Comparison, target: float) -> Row:
    return {
        "goodput": {arm: round(value, 1) for arm, value in found.goodput.items()},
        "best": found.best,
        "ratio": round(found.ratio, 4),
        "lower": None if found.lower is None else round(found.lower, 4),
        "met": found.lower is not None and found.lower >= target,
    }


def _cells(found: Row, name: str, draft_tokens: str, target: float) -> list[str]:
    goodput = [f"{found['goodput'][arm.name]:.0f}" for arm in ARMS]
    lower = "-" if found["lower"] is None else f"{found['lower']:.3f}"
    met = "yes" if found["met"] else "NO"
    return [name, *goodput, draft_tokens, found["best"], f"{found['ratio']:.3f}", lower, f"{target}", met]


def _summary_path(table: str, *, quick: bool) -> Path:
    return raw_log(table, quick=quick).with_suffix(".json")


def _write(path: Path, content: Row) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _windows(log: Path) -> list[Row]:
    """One for each line of a raw log; none where there is no such file."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def _read(path: Path) -> Row | None:
    if not path.exists():
        return None
    content: Row = json.loads(path.read_text(encoding="utf-8"))
    return content
