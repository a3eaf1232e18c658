"""HTML as a tree: what comes from the cluster is text in it, and cannot become markup.

The standard library's ElementTree escapes texts and attributes, so no page needs a template language.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

Element = ET.Element
Child = Element | str | int | None
"""None is left out, so that a part of a page can be there or not."""

UNKNOWN = "-"


def node(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element. ``class_`` is ``class``, ``aria_label`` is ``aria-label``; an attribute that is None is left out."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), f"{value:g}" if isinstance(value, float) else str(value))
    for child in children:
        _append(made, child)
    return made


def _append(parent: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, Element):
        parent.append(child)
    elif len(parent):
        parent[-1].tail = (parent[-1].tail or "") + str(child)
    else:
        parent.text = (parent.text or "") + str(child)


def written(page: Element) -> str:
    """The document."""
    return "<!DOCTYPE html>\n" + ET.tostring(page, encoding="unicode", method="html")


def slug(*names: str) -> str:
    """An id out of names: Kubernetes' own have no character that an id may not have, and no ``_``."""
    return "_".join(names)


def link(text: str, target: str, name: str | None = None) -> Element:
    """A link; an id keeps the keyboard's place when the page is brought up to date."""
    return node("a", text, href=target, id=None if name is None else f"link-{name}")


def table(name: str, caption: str, header: Sequence[str], rows: Sequence[Sequence[Child]]) -> Element:
    """Rows whose first cell is their heading; None is not known. Keyboards can scroll what is wider than the window."""
    numbers = [_holds_numbers([row[column] for row in rows]) for column in range(len(header))]
    head = [node("th", each, scope="col", class_=kind) for each, kind in zip(header, numbers, strict=True)]
    body = [node("tr", *map(_cell, row, numbers, range(len(row)))) for row in rows]
    made = node("table", node("caption", caption), node("thead", node("tr", *head)), node("tbody", *body))
    return node("div", made, class_="wide", role="region", aria_label=caption, tabindex=0, id=f"table-{name}")


def _cell(content: Child, kind: str | None, column: int) -> Element:
    words = UNKNOWN if content is None else content
    return node("td", words, class_=kind) if column else node("th", words, scope="row", class_=kind)


def _holds_numbers(cells: Sequence[Child]) -> str | None:
    """The class of a column of numbers, unknown ones among them: digits stand under digits."""
    known = [cell for cell in cells if cell is not None]
    return "number" if known and all(isinstance(cell, int | str) and _is_number(str(cell)) for cell in known) else None


def _is_number(text: str) -> bool:
    return text.lstrip("+-").rstrip("%x").replace(".", "", 1).isdigit()


def facts(pairs: Sequence[tuple[str, Child]]) -> Element:
    """Names and values; None is not known."""
    rows = [node("div", node("dt", name), node("dd", UNKNOWN if value is None else value)) for name, value in pairs]
    return node("dl", *rows)


def percent(value: int | None, sign: str = "") -> str | None:
    """As the commands write it; None stays."""
    return None if value is None else f"{value:{sign}d}%"
