"""How pages are used: by keyboard, by screen reader, and while they are brought up to date; in a real Chromium."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.web.conftest import PATHS, Open, Site
from tests.web.pictures import ask
from turbospec.cli.errors import CommandError

pytestmark = pytest.mark.browser

FOCUSED = "document.activeElement.id"
RING = "[getComputedStyle(document.activeElement)].map((each) => [each.outlineStyle, each.outlineWidth])[0]"
STATE = "2 of 2 policies ready, 4 of 4 engines controlled."


def tree(page: Page) -> list[dict[str, Any]]:
    """What a screen reader is told: Chromium's own accessibility tree."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return [
        {
            "role": node["role"]["value"],
            "name": node.get("name", {}).get("value", ""),
            "description": node.get("description", {}).get("value", ""),
            "properties": {each["name"]: each["value"].get("value") for each in node.get("properties", ())},
        }
        for node in nodes
        if not node["ignored"]
    ]


def refresh(page: Page, site: Site) -> None:
    """One look more at the fleet, one refresh more of the page."""
    site.fleet.now += 60.0
    site.looker.again()
    with page.expect_response(lambda answer: answer.url == page.url):
        page.clock.run_for(5_000)


@pytest.mark.parametrize("name", PATHS)
def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(open_page: Open, name: str) -> None:
    """No trap: behind the last one is the window again."""
    page = open_page(PATHS[name])
    wanted = ask(page, "reachable")
    assert wanted[0] == "skip"
    assert all(wanted)
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
        assert page.evaluate(RING) == ["solid", "3px"], reached
    assert reached == wanted
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) in ("", "skip")


def test_the_keyboard_skips_unfolds_and_follows(open_page: Open, site: Site) -> None:
    """Past the navigation, into the table of a chart, to an engine and to another acceptance."""
    page = open_page("/engines")
    page.keyboard.press("Tab")
    assert page.locator("#skip").bounding_box()["x"] >= 0  # type: ignore[index]  # it is visible now
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUSED) == "main"
    page.focus("#open-k")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "table-k"
    page.focus("#link-team_code_code-0")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/engines/team/code/code-0")
    page.goto(site.url + PATHS["profile"])
    page.focus("#acceptance")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**acceptance=0.6")


@pytest.mark.parametrize("name", PATHS)
def test_a_screen_reader_is_told_what_everything_is(open_page: Open, name: str) -> None:
    """Names of all that takes the focus, words for pictures, landmarks, one title, headings without gaps, tables whose
    cells have headings."""
    page = open_page(PATHS[name])
    nodes = tree(page)
    nameless = [node for node in nodes if node["properties"].get("focusable") and not node["name"]]
    assert [node for node in nameless if node["role"] not in ("RootWebArea", "main")] == []
    for role in ("banner", "navigation", "main", "contentinfo", "status"):
        assert [node["role"] for node in nodes].count(role) == 1, role
    pictures = [node for node in nodes if node["role"] == "image"]
    assert len(pictures) == page.locator("svg[role=img]").count()
    assert all(node["name"] and len(node["description"]) > 10 for node in pictures)
    levels = [node["properties"]["level"] for node in nodes if node["role"] == "heading"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert set(levels) <= {1, 2}
    headings = page.locator("main h1, main h2").all_inner_texts()
    assert len(set(headings)) == len(headings)
    for number in range(page.locator("table").count()):
        table = page.locator("table").nth(number)
        assert table.locator("caption").count() == 1
        assert table.locator("thead th[scope=col]").count() > 1
        rows = table.locator("tbody tr").count()
        assert table.locator("tbody th[scope=row]").count() == rows > 0
    assert page.title().endswith(" - TurboSpec")
    assert page.evaluate("document.documentElement.lang") == "en"
    current = page.locator("nav [aria-current=page]").all_inner_texts()
    assert len(current) == (0 if name == "missing" else 1)


def test_figures_move_and_the_reader_stays(open_page: Open, site: Site) -> None:
    """Focus, unfolded tables and what is scrolled; nothing is animated, and moving figures are not read out."""
    page = open_page("/engines", reduced_motion="reduce")
    page.set_viewport_size({"width": 500, "height": 700})
    page.focus("#link-team_chat_chat-6b9f-1")
    page.evaluate("document.getElementById('open-k').click()")
    page.evaluate("document.getElementById('table-engines').scrollTo(40, 0)")
    before = page.locator("#table-engines").inner_text()
    since = page.locator("#as-of time").inner_text()
    refresh(page, site)
    page.wait_for_function("(since) => document.querySelector('#as-of time').textContent !== since", arg=since)
    assert page.locator("#table-engines").inner_text() != before
    assert page.evaluate(FOCUSED) == "link-team_chat_chat-6b9f-1"
    assert page.locator("#values-k").get_attribute("open") is not None
    assert page.evaluate("document.getElementById('table-engines').scrollLeft") == 40
    assert page.locator("#said").inner_text() == ""
    assert page.evaluate("document.getAnimations().length") == 0


def test_a_change_of_state_is_said_once(open_page: Open, site: Site) -> None:
    """Politely: an engine that is lost, a cluster that does not answer, the way back."""
    page = open_page("/")
    assert page.evaluate("document.body.dataset.state") == STATE
    assert [node["properties"].get("live") for node in tree(page) if node["role"] == "status"] == ["polite"]
    site.fleet.lost = {"chat-6b9f-2"}
    refresh(page, site)
    page.wait_for_function("document.getElementById('said').textContent !== ''")
    assert page.locator("#said").inner_text() == "1 of 2 policies ready, 3 of 4 engines controlled."
    site.fleet.lost, site.fleet.error = set(), CommandError("the API server does not answer")
    refresh(page, site)
    page.wait_for_selector("#notice p")
    assert "The last look failed" in page.locator("#notice").inner_text()
    assert "the API server does not answer" in page.locator("#said").inner_text()
    site.fleet.error = None
    refresh(page, site)
    page.wait_for_selector("#notice p", state="detached")
    assert page.locator("#said").inner_text() == STATE


def test_updates_can_be_paused(open_page: Open, site: Site) -> None:
    """By a button that says whether it is pressed (WCAG 2.2.2)."""
    page = open_page("/engines")
    page.get_by_role("button", name="Pause updates", pressed=False).click()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(20_000)
    assert asked == []
    page.get_by_role("button", name="Pause updates", pressed=True).click()
    refresh(page, site)
    assert asked == [page.url]


def test_text_that_is_being_marked_is_left_alone(open_page: Open, site: Site) -> None:
    """Who copies a figure is not to lose it; what else there is moves."""
    page = open_page("/engines")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#table-engines tbody tr'))")
    before, since = page.locator("#table-engines").inner_text(), page.locator("#as-of time").inner_text()
    refresh(page, site)
    page.wait_for_function("(since) => document.querySelector('#as-of time').textContent !== since", arg=since)
    assert page.locator("#table-engines").inner_text() == before


def test_a_dashboard_that_ended_is_told(open_page: Open, site: Site) -> None:
    """And a page that finds it again goes on."""
    page = open_page("/")
    page.route("**/*", lambda route: route.abort("connectionrefused"))
    page.clock.run_for(5_000)
    page.wait_for_selector("#notice p")
    assert "is it still running?" in page.locator("#said").inner_text()
    page.unroute("**/*")
    refresh(page, site)
    page.wait_for_selector("#notice p", state="detached")
    assert page.locator("#said").inner_text() == STATE
