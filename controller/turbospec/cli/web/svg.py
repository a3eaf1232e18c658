"""What charts share: a picture with a name and words for who does not see it, and its values as a table. Pure.

Colours are classes: the style sheet has them for light and for dark.
"""

from collections.abc import Sequence

from turbospec.cli.web.markup import Child, Element, node

WIDTH = 720.0
LEFT, RIGHT, TOP = 64.0, 12.0, 10.0
"""Room for numbers and names around what is drawn."""
BASELINE = 4.0
"""From the middle of a line of text to its baseline."""
CHARACTER = 7.5
"""Width of one at most, at the size that the style sheet gives to charts."""


def section(name: str, title: str, *content: Child, values: Element | None = None) -> Element:
    """A part of a page under its heading; ``values``: the same as a table, folded away."""
    more = None
    if values is not None:
        more = node("details", node("summary", f"{title}: values as a table", id=f"open-{name}"), values)
        more.set("id", f"values-{name}")
    return node("section", node("h2", title, id=f"head-{name}"), *content, more, aria_labelledby=f"head-{name}")


def picture(name: str, title: str, words: str, height: float, drawn: Sequence[Child]) -> Element:
    """``words`` is what a person who does not see it is told."""
    drawing = node(
        "svg", node("title", title, id=f"title-{name}"), node("desc", words, id=f"words-{name}"), *drawn,
        viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", id=f"chart-{name}",
        aria_labelledby=f"title-{name}", aria_describedby=f"words-{name}",
    )  # fmt: skip
    return node("div", drawing, class_="chart")


def text(x: float, y: float, words: str, anchor: str, kind: str | None = None) -> Element:
    """``anchor``: start, middle or end of the words is at ``x``."""
    return node("text", words, x=x, y=y, text_anchor=anchor, class_=kind)
