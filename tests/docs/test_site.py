"""The documentation as a site: it builds, nothing in it is broken, and it needs nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "charts" / "turbospec" / "files" / "alerts.yaml"
SWALLOWED = re.compile(r"\n(?:[-*] |\d+\. |\| )")
"""A list or a table without an empty line before it: GitHub shows it, this site would make it part of the paragraph."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. Links and anchors that lead nowhere, and pages outside the menu, fail the build."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What of a page can be wrong although its links are right."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self.fetched: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes paragraphs, and what the browser loads by itself."""
        if tag == "p":
            self._inside = True
            self.paragraphs.append("")
        names = dict(attrs)
        source = names.get("href") if tag == "link" else names.get("src")
        if source and re.match(r"(https?:)?//", source):
            self.fetched.append(source)

    def handle_endtag(self, tag: str) -> None:
        """A paragraph ends."""
        if tag == "p":
            self._inside = False

    def handle_data(self, data: str) -> None:
        """Its text."""
        if self._inside:
            self.paragraphs[-1] += data


def read(path: Path) -> Page:
    """A page of the site."""
    page = Page()
    page.feed(path.read_text())
    return page


def test_every_page_is_built_and_reads_as_it_was_meant(site: Path) -> None:
    """No list or table is swallowed by the paragraph above it."""
    pages = {path: read(path) for path in site.rglob("*.html")}
    assert {path.stem for path in pages} >= {"index", "quickstart", "concepts", "what-it-can-do", "custom-resources"}
    swallowed = {
        f"{path.relative_to(site)}: {text[:80]!r}"
        for path, page in pages.items()
        for text in page.paragraphs
        if SWALLOWED.search(text)
    }
    assert swallowed == set()


def test_it_needs_nothing_from_elsewhere(site: Path) -> None:
    """It is read where the Internet is not."""
    assert {each for path in site.rglob("*.html") for each in read(path).fetched} == set()


def test_the_overview_of_alerts_names_each_of_them() -> None:
    """In the words of its own summary, more or less."""
    alerts = [rule["alert"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]]
    text = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    assert re.findall(r"^\| \[(\w+)\]\(\1\.md\)", text, re.MULTILINE) == alerts
