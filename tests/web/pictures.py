"""Pictures of pages, and what the browser says that must be on them."""

import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

ASK = Path(__file__).with_name("marks.js").read_text(encoding="utf-8")

Rgb = tuple[int, ...]


def ask(page: Page, question: str) -> Any:
    """An answer of marks.js."""
    return page.evaluate(f"({ASK.partition('(')[2].rpartition(')')[0]}).{question}()")


def picture(page: Page) -> Image.Image:
    """The whole page."""
    return Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")


def rgb(color: str) -> Rgb:
    """Of what the browser calls ``rgb(1, 2, 3)``."""
    return tuple(int(float(part)) for part in color.partition("(")[2].rstrip(")").split(",")[:3])


def shows(image: Image.Image, point: tuple[float, float], color: Rgb, within: int = 0) -> bool:
    """Whether a pixel at most so far from a point has nearly this colour."""
    x, y = (round(value) for value in point)
    near = [(x + dx, y + dy) for dx in range(-within, within + 1) for dy in range(-within, within + 1)]
    inside = [each for each in near if 0 <= each[0] < image.width and 0 <= each[1] < image.height]
    return any(_is_near(image.getpixel(each), color) for each in inside)


def _is_near(found: Any, wanted: Rgb) -> bool:
    return all(abs(one - other) <= 6 for one, other in zip(found, wanted, strict=True))
