"""Lines over time. They differ in their dashes and are named: colour alone tells nothing. Pure."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from turbospec.cli.web.markup import Child, Element, node, table
from turbospec.cli.web.svg import BASELINE, LEFT, RIGHT, TOP, WIDTH, picture, section, text

Value = int | None
"""None is not known: a gap, never zero."""
Place = Callable[[float, float], tuple[float, float]]

HEIGHT, BOTTOM = 220.0, 34.0
MOST_ROWS = 20
"""In the table: the last ones."""
MOST_TICKS = 5
TIME_STEPS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Line:
    """``values``: (seconds, value), oldest first."""

    name: str
    values: Sequence[tuple[float, Value]]
    dashed: bool = False
    steps: bool = False
    """A value holds until the next one, as K does; else points are joined."""


def line_chart(name: str, title: str, unit: str, lines: Sequence[Line]) -> Element:
    """Lines over the same times, the newest at the right."""
    known = [value for line in lines for _, value in line.values if value is not None]
    if not known:
        return section(name, title, node("p", "Nothing is known yet."))
    times = [at for at, _ in lines[0].values]
    now, span = times[-1], max(times[-1] - times[0], TIME_STEPS[0])
    step = _nice_step(max(known))
    top = max(step * math.ceil(max(known) / step), step)

    def place(at: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (1.0 - (now - at) / span)
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top)

    drawn: list[Child] = [
        *_value_axis(range(0, top + 1, step), place, (now - span, now)),
        *_time_axis(now, span, place),
    ]
    drawn += [
        node("path", d=_path(piece, place, line.steps), class_=_kind(number, line))
        for number, line in enumerate(lines)
        for piece in _pieces(line.values)
    ]
    words = ". ".join(_in_words(line, unit, now - times[0]) for line in lines)
    return section(
        name, title, picture(name, title, words, HEIGHT, drawn), _legend(lines),
        values=table(name, f"{title}: the last values", *_rows(lines, unit, now)),
    )  # fmt: skip


def _rows(lines: Sequence[Line], unit: str, now: float) -> tuple[tuple[str, ...], list[list[Child]]]:
    moments = list(zip(*(line.values for line in lines), strict=True))[-MOST_ROWS:]
    header = ("Seconds ago", *(f"{line.name}, {unit}" if unit else line.name for line in lines))
    return header, [[round(now - moment[0][0]), *(value for _, value in moment)] for moment in reversed(moments)]


def _nice_step(most: int) -> int:
    """1, 2 or 5 times a power of ten, so that few of them reach ``most``."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if most <= MOST_TICKS * factor * size:
                return factor * size
        size *= 10


def _value_axis(ticks: range, place: Place, ends: tuple[float, float]) -> Iterator[Child]:
    for tick in ticks:
        (left, y), (right, _) = place(ends[0], tick), place(ends[1], tick)
        yield node("line", x1=left, x2=right, y1=y, y2=y, class_="grid")
        yield text(LEFT - 8.0, y + BASELINE, f"{tick:,}", "end")


def _time_axis(now: float, span: float, place: Place) -> Iterator[Child]:
    step = next((each for each in TIME_STEPS if span / each <= MOST_TICKS), TIME_STEPS[-1])
    for number in range(int(span // step) + 1):
        ago = number * step
        x, y = place(now - ago, 0.0)
        words = "now" if not ago else f"-{ago / 60:g} min" if step >= 30.0 else f"-{ago:g} s"
        # A name at the very edge would be cut.
        yield text(x, y + 20.0, words, "end" if not ago else "start" if x < LEFT + 20.0 else "middle")


def _pieces(values: Sequence[tuple[float, Value]]) -> Iterator[list[tuple[float, int]]]:
    """Runs without a gap."""
    piece: list[tuple[float, int]] = []
    for at, value in values:
        if value is not None:
            piece.append((at, value))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _path(piece: Sequence[tuple[float, int]], place: Place, steps: bool) -> str:
    (x, y), *rest = (place(at, value) for at, value in piece)
    drawn = [f"M{x:.1f} {y:.1f}h0"]
    drawn += [f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}" for x, y in rest]
    return "".join(drawn)


def _kind(number: int, line: Line) -> str:
    return f"line line{number}{' dashed' if line.dashed else ''}"


def _in_words(line: Line, unit: str, span: float) -> str:
    known = [value for _, value in line.values if value is not None]
    last = line.values[-1][1]
    words = f"{line.name}: {'not known' if last is None else f'{last:,} {unit}'.rstrip()} now"
    if not known:
        return words
    return f"{words}, {min(known):,} to {max(known):,} in the last {_minutes(span)}"


def _minutes(span: float) -> str:
    return f"{span:.0f} seconds" if span < 120.0 else f"{span / 60:.0f} minutes"


def _legend(lines: Sequence[Line]) -> Element | None:
    """Not for screen readers: the picture's words name the lines."""
    if len(lines) < 2:
        return None
    keys = []
    for number, line in enumerate(lines):
        sample = node("svg", node("path", d="M2 6H34", class_=_kind(number, line)), viewBox="0 0 36 12", class_="key")
        keys.append(node("li", sample, f" {line.name}"))
    return node("ul", *keys, class_="legend", aria_hidden="true")
