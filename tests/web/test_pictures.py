"""Each page as a picture, light and dark, in a real Chromium.

Stored pictures would differ with each release of fonts and of the browser, and be renewed without being looked at.
Instead the browser says where it has drawn what, and the picture is asked whether that is to be seen there.
"""

import pytest

from tests.web.conftest import PATHS, Open, Site
from tests.web.pictures import ask, picture, rgb, shows

pytestmark = pytest.mark.browser

CHARTS = {"policies": 1, "engines": 1, "engine": 2, "profiles": 0, "profile": 3, "missing": 0}
LEAST_SEEN = {"cell": 1.0, "line": 0.5}
"""Share of a mark's points: dashes and other lines leave out some of a line's."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PATHS)
def test_what_a_page_has_is_to_be_seen_on_its_picture(open_page: Open, name: str, scheme: str) -> None:
    """Cells and lines of every chart in their colours and places, on the ground of the scheme, and readable texts."""
    page = open_page(PATHS[name], color_scheme=scheme)
    image = picture(page)
    ground = rgb(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (sum(ground) > 600) == (scheme == "light")
    assert shows(image, (image.width - 2.0, image.height - 2.0), ground)
    assert len(image.getcolors(maxcolors=1 << 24) or ()) > 50
    marks = ask(page, "marks")
    for mark in marks:
        seen = [shows(image, (x, y), rgb(mark["color"]), 0 if mark["kind"] == "cell" else 2) for x, y in mark["points"]]
        assert sum(seen) >= LEAST_SEEN[mark["kind"]] * len(seen), mark
    assert page.locator("svg[role=img]").count() == CHARTS[name]
    assert page.locator("svg[role=img]:has(.cell, .line)").count() == CHARTS[name]
    assert ask(page, "collisions") == []
    assert [each for each in ask(page, "contrasts") if each["is"] < each["least"]] == []


def test_the_pictures_tell_when_something_is_not_drawn(open_page: Open) -> None:
    """The check above can fail: a chart in the colour of the ground, texts upon each other, and grey on white."""
    page = open_page(PATHS["profile"])
    mark = ask(page, "marks")[0]
    (x, y), color = mark["points"][0], rgb(mark["color"])
    assert shows(picture(page), (x, y), color)
    page.evaluate("document.querySelectorAll('.cell').forEach((each) => each.remove())")
    assert not shows(picture(page), (x, y), color)
    page.evaluate("document.querySelectorAll('svg text').forEach((each) => each.setAttribute('x', '99'))")
    assert ask(page, "collisions")
    page.evaluate("document.querySelector('h1').style.color = '#999999'")
    assert [each for each in ask(page, "contrasts") if each["is"] < each["least"]]


@pytest.mark.parametrize("name", PATHS)
def test_narrow_windows_need_no_sideways_scrolling(open_page: Open, name: str) -> None:
    """320 pixels, which is also a window of 1280 enlarged fourfold (WCAG 1.4.10); tables scroll by themselves."""
    page = open_page(PATHS[name])
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("name", PATHS)
def test_nothing_needs_scripts_but_bringing_up_to_date(open_page: Open, site: Site, name: str) -> None:
    """The same texts and charts; the reader is told to reload, and has no button that would do nothing."""
    page, plain = open_page(PATHS[name]), open_page(PATHS[name], java_script_enabled=False)
    assert plain.locator("#live").inner_text() == page.locator("#live").inner_text()
    assert plain.locator("svg[role=img]").count() == CHARTS[name]
    for opened, seen, unseen in ((page, "#pause", "#still"), (plain, "#still", "#pause")):
        assert opened.locator(seen).is_visible()
        assert not opened.locator(unseen).is_visible()
    if name == "profile":
        plain.get_by_label("Acceptance of every draft token").select_option("0.3")
        plain.get_by_role("button", name="Show").click()
        assert plain.url == f"{site.url}{PATHS[name]}?acceptance=0.3"
        assert plain.get_by_role("heading", name="at acceptance 0.3").is_visible()


def test_a_name_that_was_pointed_here_is_not_answered(open_page: Open, site: Site) -> None:
    """DNS rebinding as a browser would do it: evil.example resolves to this machine."""
    page = open_page("/")
    port = site.url.rpartition(":")[2]
    context = page.context.browser
    assert context is not None
    with context.new_context() as other:
        answer = other.new_page().goto(f"http://evil.example:{port}/api/snapshot")
        assert answer is not None
        assert answer.status == 421
        assert "chat" not in answer.text()
