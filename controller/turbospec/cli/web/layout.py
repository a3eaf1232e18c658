"""What every page has: a way past the navigation, the navigation, what is wrong, and since when this is known. Pure."""

import datetime as dt
from collections.abc import Sequence

from turbospec.cli.web.looking import Look
from turbospec.cli.web.markup import Child, Element, node, written

PAGES = (("Policies", "/"), ("Engines", "/engines"), ("Profiles", "/profiles"))


def page(look: Look, title: str, current: str, *content: Child, still: Sequence[Child] = ()) -> str:
    """The document. ``content`` is brought up to date while it is open, ``still`` above it is not: it may hold what a
    person is filling in. ``current`` is the path of one of PAGES."""
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("title", f"{title} - TurboSpec"),
        node("link", rel="stylesheet", href="/static/dashboard.css"),
        node("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        node("script", src="/static/dashboard.js", type="module"),
    )
    main = node(
        "main", node("h1", title), *still, node("div", *content, id="live", data_live="yes"), id="main", tabindex="-1"
    )
    body = node(
        "body",
        node("a", "Skip to the content", href="#main", class_="skip", id="skip"),
        _header(look, current),
        node("div", _notice(look), id="notice", data_live="yes"),
        main,
        node("footer", _as_of(look), id="as-of", data_live="yes"),
        # Empty until something changes that a person who does not see the page would want to hear of.
        node("p", id="said", role="status", class_="unseen"),
        data_state=state(look),
    )
    return written(node("html", head, body, lang="en"))


def state(look: Look) -> str:
    """The fleet in one sentence, which changes when its state does and not with every figure."""
    ready = sum(each["ready"] == "True" for each in look.policies)
    controlled = sum(each["controlled"] for each in look.engines)
    fleet = f"{ready} of {len(look.policies)} policies ready, {controlled} of {len(look.engines)} engines controlled."
    return fleet if look.error is None else f"{fleet} The last look failed: {look.error}."


def _header(look: Look, current: str) -> Element:
    links = [
        node(
            "li",
            node("a", name, href=path, id=f"page-{name.lower()}", aria_current="page" if path == current else None),
        )
        for name, path in PAGES
    ]
    where = "All namespaces" if look.where is None else f"Namespace {look.where}"
    return node(
        "header",
        node("p", node("strong", "TurboSpec"), f" {where}"),
        node("nav", node("ul", *links), aria_label="Pages"),
        # Only the script brings a page up to date, so it shows the one and hides the other.
        node("button", "Pause updates", type="button", id="pause", hidden="hidden", aria_pressed="false"),
        node("p", "Reload the page to bring it up to date.", id="still"),
    )


def _notice(look: Look) -> Element | None:
    if look.error is None:
        return None
    return node("p", node("strong", "The last look failed, these are the figures of the one before: "), look.error)


def _as_of(look: Look) -> Element:
    at = dt.datetime.fromtimestamp(look.at).astimezone()
    seen = node("time", f"{at:%H:%M:%S}", datetime=at.isoformat(timespec="seconds"))
    said = ". Engines' figures are those of policies' statuses, brought up to date every ten seconds. - is not known."
    return node("p", "As of ", seen, said)
