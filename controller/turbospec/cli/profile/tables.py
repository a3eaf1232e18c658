"""What the commands print for people."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from turbospec.cli.profile.compare import Comparison, PlainRatio, Refit
from turbospec.cli.profile.progress import Progress
from turbospec.control.latency import FitCoefficients

LARGEST = 8
"""Rows of the largest differences: the rest is in ``-o json``."""

_UNITS = {"per_step": (1e3, "ms"), "per_drafting_step": (1e3, "ms"), "per_draft_pass": (1e3, "ms")}


def listed(rows: Sequence[dict[str, str]]) -> Table:
    """Profiles, one in a row; the keys of a row are the headings."""
    table = _table(*(rows[0] if rows else ()))
    for row in rows:
        table.add_row(*row.values())
    return table


def age(measured_at: str | None, now: dt.datetime) -> str:
    """As kubectl writes it: ``45m``, ``7h``, ``12d``; ``-`` where it is not known."""
    try:
        seconds = (now - dt.datetime.fromisoformat(str(measured_at))).total_seconds()
    except (ValueError, TypeError):
        return "-"
    if seconds < 0:
        return "0m"
    for size, unit in ((86400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 60:.0f}m"


def differences(found: Comparison) -> list[Table]:
    """The largest differences in T(K)/T(0), and of the choices all that differ."""
    cells = _table("batch", "context", "K", "first ms", "second ms", "ratio", "T(K)/T(0)", "second", "change")
    largest = sorted(found.cells, key=lambda cell: -abs(cell.relative_change or 0.0))[:LARGEST]
    for cell in largest:
        cells.add_row(
            str(cell.batch), str(cell.context_tokens), str(cell.draft_tokens),
            f"{1e3 * cell.first:.2f}", f"{1e3 * cell.second:.2f}", f"{cell.ratio:.2f}",
            _number(cell.first_relative), _number(cell.second_relative),
            "-" if cell.relative_change is None else f"{cell.relative_change:+.1%}",
        )  # fmt: skip
    choices = _table("acceptance", "batch", "best K", "second's", "goodput lost with the first's")
    for choice in found.differing:
        choices.add_row(
            f"{choice.acceptance:g}", str(choice.batch), str(choice.first), str(choice.second), f"{choice.loss:.1%}"
        )
    return [cells, choices]


def fitted(found: Refit, stored: FitCoefficients) -> list[Table]:
    """Coefficients beside those of the profile, and the cells that the fit misses most."""
    table = _table("coefficient", "of the profile", "fitted anew", "")
    new = asdict(found.coefficients)
    for name, value in asdict(stored).items():
        scale, unit = _UNITS.get(name, (1e6, "us"))
        table.add_row(_camel(name), f"{scale * value:.4g}", f"{scale * new[name]:.4g}", unit)
    cells = _table("batch", "context", "K", "measured ms", "missed by")
    for cell, miss in found.worst[:LARGEST]:
        cells.add_row(
            str(cell.batch),
            str(cell.context_tokens),
            str(cell.draft_tokens),
            f"{1e3 * cell.seconds:.2f}",
            f"{miss:+.1%}",
        )
    return [table, cells]


def plain(found: Sequence[PlainRatio]) -> Table:
    """The engine without speculation beside this one at K = 0."""
    table = _table("batch", "context", "plain ms", "K = 0 ms", "plain is faster by")
    for each in found:
        table.add_row(
            str(each.batch),
            str(each.context_tokens),
            f"{1e3 * each.plain:.2f}",
            f"{1e3 * each.speculating:.2f}",
            f"{each.faster:+.1%}",
        )
    return table


def watched(found: Sequence[Progress]) -> Table:
    """Jobs, with a bar for each that says how far it is."""
    table = _table("namespace", "job", "phase", "done", "left", "")
    for each in found:
        done = "" if each.percent is None else f"{each.percent}%"
        left = "" if each.seconds_left is None or each.phase != "Running" else f"{each.seconds_left} s"
        table.add_row(each.namespace, each.job, each.phase, done, left, each.message)
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
