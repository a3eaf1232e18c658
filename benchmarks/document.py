"""Figures in docs/benchmarks.md, between marks that name what writes them."""

from collections.abc import Sequence
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_between(name: str, lines: Sequence[str], document: Path = DOCUMENT) -> None:
    """Put ``lines`` between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``; what was there goes.

    Raises ValueError where the document has not each mark exactly once.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = document.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{document.name} must have {begin} and {end}, once each")
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    document.write_text(head + begin + "\n".join(["", "", *lines, "", ""]) + end + tail, encoding="utf-8")


def cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return text.replace("|", "\\|")
