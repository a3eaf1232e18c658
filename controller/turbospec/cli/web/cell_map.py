"""Maps of cells: heat maps, and K over time for many engines. Cells say their numbers, the best one has a frame: colour
alone tells nothing. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.cli.web.markup import Child, Element, node, table
from turbospec.cli.web.svg import BASELINE, CHARACTER, LEFT, RIGHT, TOP, WIDTH, picture, section, text

TINTS = 4
"""Steps of colour on either side of the middle."""
ROW = 26.0


@dataclass(frozen=True, slots=True)
class Cell:
    """``tint``: from -TINTS to TINTS, 0 the middle; None: not known."""

    text: str
    tint: int | None
    framed: bool = False
    """The one of its column to look at."""


Row = tuple[str, Sequence[Cell]]


def tint(share: float) -> int:
    """The step of colour for a share in [-1, 1] of the scale's reach."""
    return max(-TINTS, min(TINTS, round(TINTS * share)))


def cell_map(
    name: str,
    title: str,
    words: str,
    axes: tuple[str, str],
    *,
    columns: Sequence[str],
    rows: Sequence[Row],
    note: Child = None,
) -> Element:
    """One row for each name, the first at the top. ``axes``: what columns and rows are; ``note`` stands above."""
    left = max(LEFT, 16.0 + CHARACTER * max(len(each) for each in (axes[1], *(row for row, _ in rows))))
    width, bottom = (WIDTH - left - RIGHT) / max(len(columns), 1), TOP + ROW * len(rows)
    drawn: list[Child] = []
    for number, (row, content) in enumerate(rows):
        y = TOP + ROW * number
        drawn.append(text(left - 8.0, y + ROW / 2 + BASELINE, row, "end"))
        for column, cell in enumerate(content):
            drawn += _drawn(cell, (left + width * column, y, width), f"{axes[0]} {columns[column]}, {axes[1]} {row}")
    # Where names are wider than columns only some are drawn, the last one among them: over time it is now.
    stride = math.ceil(CHARACTER * max((len(each) for each in columns), default=0) / width)
    for column in range(len(columns) - 1, -1, -max(stride, 1)):
        drawn.append(text(left + width * (column + 0.5), bottom + 17.0, columns[column], "middle"))
    drawn.append(text(left - 8.0, bottom + 17.0, axes[1], "end", "axis"))
    drawn.append(text((left + WIDTH - RIGHT) / 2, bottom + 36.0, axes[0], "middle", "axis"))
    header = (axes[1], *(f"{axes[0]} {each}" for each in columns))
    values = [
        [row, *(f"{cell.text} (best)" if cell.framed else cell.text for cell in content)] for row, content in rows
    ]
    return section(
        name, title, note, picture(name, title, words, bottom + 44.0, drawn),
        values=table(name, f"{title}: values", header, values),
    )  # fmt: skip


def _drawn(cell: Cell, box: tuple[float, float, float], where: str) -> list[Child]:
    x, y, width = box
    kind = "unknown" if cell.tint is None else f"{'less' if cell.tint < 0 else 'more'}{abs(cell.tint)}"
    rectangle = node(
        "rect", node("title", f"{where}: {cell.text}"), x=x + 1.0, y=y + 1.0, width=max(width - 2.0, 1.0),
        height=ROW - 2.0, class_=f"cell {kind}{' best' if cell.framed else ''}",
    )  # fmt: skip
    fits = CHARACTER * len(cell.text) <= width
    return [rectangle, text(x + width / 2, y + ROW / 2 + BASELINE, cell.text, "middle", "value") if fits else None]
