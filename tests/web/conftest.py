"""A dashboard over a scripted fleet, and a real Chromium that looks at it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from e2e.chromium import find_chromium
from tests.cli.samples import NAME
from tests.web.fleet import Fleet, served
from turbospec.cli.web.looking import Looker

LOOKS = 180
"""A quarter of an hour of them."""
PATHS = {
    "policies": "/",
    "engines": "/engines",
    "engine": "/engines/team/chat/chat-6b9f-0",
    "profiles": "/profiles",
    "profile": f"/profiles/namespaces/team/{NAME}",
    "missing": "/nothing",
}
SIZE = (1100, 800)


@dataclass(frozen=True)
class Site:
    """A dashboard that is served, and what it looks at."""

    fleet: Fleet
    looker: Looker
    url: str


Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: while it is open no asynchronous test can run."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium: python -m e2e.chromium installs it")
    with sync_playwright() as playwright:
        # A name that an attacker would point at this machine, for the tests of the Host header.
        rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=program, args=[rebound])
        yield browser
        browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """A fresh one for each test."""
    fleet = Fleet()
    looker = fleet.looker(LOOKS)
    with served(lambda: looker.latest) as url:
        yield Site(fleet, looker, url)


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[Open]:
    """``open_page(path, color_scheme="dark", ...)``; whatever the browser complains of fails the test."""
    contexts, complaints = [], []

    def opened(path: str, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(site.url) else complaints.append(asked.url))
        page.clock.install()
        page.goto(site.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    # Answers that the tests ask for are no complaints: what is not there, and a server that does not answer.
    assert [each for each in complaints if not each.startswith("Failed to load resource")] == []
