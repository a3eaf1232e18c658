"""Pictures of the pages for the docs: ``python -m tests.web.draw docs/images``."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from e2e.chromium import find_chromium
from tests.web.conftest import LOOKS, PATHS, SIZE
from tests.web.fleet import Fleet, served
from tests.web.pictures import picture

DRAWN = ("policies", "engines", "engine", "profile")
COLORS = 64


def main() -> int:
    """Write a PNG of each page, light."""
    program = find_chromium()
    if program is None:
        sys.stderr.write("no Chromium: python -m e2e.chromium installs it\n")
        return 1
    looker = Fleet().looker(LOOKS)
    with served(lambda: looker.latest) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        page = browser.new_page(viewport={"width": SIZE[0], "height": 200}, color_scheme="light")
        for name in DRAWN:
            page.goto(url + PATHS[name])
            # A palette takes a third of the room, and pages have few colours.
            picture(page).quantize(COLORS).save(Path(sys.argv[1]) / f"web-{name}.png", optimize=True)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
