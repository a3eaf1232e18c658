"""The local server: whom it answers, what goes with each answer, and that nothing else of the cluster gets out."""

import copy
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.cli.samples import NAME
from tests.web.fleet import Fleet
from turbospec.cli.web.looking import Looker
from turbospec.cli.web.server import HEADERS, STATIC, listening, serving

ENGINE = "/engines/team/chat/chat-6b9f-0"
PROFILE = f"/profiles/namespaces/team/{NAME}"
PAGES = ("/", "/engines", ENGINE, "/profiles", PROFILE, "/profiles/cluster/shared", f"{PROFILE}?acceptance=0.3")
MISSING = ("/nothing", "/engines/team/chat/gone", "/profiles/cluster/gone", "/profiles/namespaces/team/typed-by-hand")
REFUSED = ("/static/nothing", "/static/..%2fserver.py", f"{PROFILE}?acceptance=2")
VOID = {"meta", "link", "br"}


class Checked(HTMLParser):
    """Notes what a page may not have: what is inline or from elsewhere, ids that are there twice, tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.ids: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.faults += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        bad = [name for name in values if name.startswith("on") or name == "style"]
        bad += [name for name in ("src", "href") if not (values.get(name) or "/").startswith(("/", "#"))]
        if tag == "style" or (tag == "script" and "src" not in values):
            bad.append("inline")
        if values.get("id") in self.ids:
            bad.append(f"id {values['id']} twice")
        self.ids.add(values.get("id") or f"none {len(self.ids)}")
        self.faults += [f"{tag}: {each}" for each in bad]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open.pop() != tag:
            self.faults.append(f"{tag} closed out of order")


class Client:
    """Asks one server, by whatever Host."""

    def __init__(self, session: ClientSession, port: int) -> None:
        self.session, self.port = session, port

    async def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), dict(answer.headers)


@pytest.fixture
def fleet() -> Fleet:
    """What the server has looked at."""
    return Fleet()


@pytest.fixture
def looker(fleet: Fleet) -> Looker:
    """Thirty looks at it."""
    return fleet.looker(30)


@pytest.fixture
async def client(looker: Looker) -> AsyncIterator[Client]:
    """Of a server on a free port."""
    async with serving(lambda: looker.latest, listening(0)) as url, ClientSession() as session:
        yield Client(session, int(url.rpartition(":")[2]))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("[::1]:{port}", 200),
        ("evil.example:{port}", 421),
        ("evil.localhost:{port}", 421),
        ("localhost.evil.example:{port}", 421),
        ("127.0.0.1", 421),
        ("127.0.0.1:1", 421),
        ("127.0.0.1:{port}@evil.example", 421),
        ("127.0.0.2:{port}", 421),
        ("0.0.0.0:{port}", 421),
        ("", 421),
    ],
)
async def test_only_this_machines_own_names_are_answered(client: Client, host: str, status: int) -> None:
    """Whoever points a name of their own at 127.0.0.1 (DNS rebinding) learns nothing."""
    for path in ("/", "/api/snapshot", "/static/dashboard.js", "/nothing"):
        got, text, _ = await client.ask(path, Host=host.format(port=client.port))
        assert got == (404 if status == 200 and path == "/nothing" else status)
        assert status == 200 or ("turbospec dashboard" in text and "chat" not in text)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_it_only_shows(client: Client, method: str) -> None:
    """Whatever the path; and the other two methods are said."""
    for path in ("/", "/api/snapshot", "/nothing"):
        status, _, headers = await client.ask(path, method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


async def test_head_is_get_without_the_body(client: Client) -> None:
    """For who only wants to know whether it is there."""
    status, text, headers = await client.ask("/", "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 1000


@pytest.mark.parametrize("path", [*PAGES, *MISSING, *REFUSED, "/api/snapshot", *(f"/static/{name}" for name in STATIC)])
async def test_every_answer_carries_the_headers_that_bound_it(client: Client, path: str) -> None:
    """No script but our own file, nothing from elsewhere, in no frame, kept nowhere; the refusals too."""
    status, _, headers = await client.ask(path)
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert status == (200 if path not in (*MISSING, *REFUSED) else 400 if "acceptance=2" in path else 404)
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("frame-ancestors") == "'none'"
    assert set(policy.values()) == {"'self'"}
    for refusal, method, host in ((421, "GET", "evil.example"), (405, "POST", f"127.0.0.1:{client.port}")):
        status, _, headers = await client.ask(path, method, Host=host)
        assert status == refusal
        assert {name: headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", [*PAGES, *MISSING])
async def test_pages_are_whole_and_name_nothing_from_elsewhere(client: Client, path: str) -> None:
    """Nothing inline, no other server: they work where there is no way out."""
    _, text, headers = await client.ask(path)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert Checked(text).faults == []
    for name in STATIC:
        assert "http" not in (await client.ask(f"/static/{name}"))[1].replace("http://www.w3.org/2000/svg", "")


async def test_links_lead_to_pages(client: Client) -> None:
    """Each that any page has, profiles that cannot be used among what is listed but not linked."""
    found = {link for path in PAGES for link in re.findall(r'href="(/[^"]*)"', (await client.ask(path))[1])}
    assert {ENGINE, PROFILE, "/profiles/cluster/shared"} <= found
    assert {(await client.ask(link))[0] for link in found} == {200}


async def test_what_the_cluster_says_is_text(client: Client, fleet: Fleet, looker: Looker) -> None:
    """Also where somebody makes a message of markup."""
    fleet.message = "<script>alert(1)</script> \"' onerror=x </td>&amp;"
    looker.again()
    _, text, _ = await client.ask("/")
    assert Checked(text).faults == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \"' onerror=x &lt;/td&gt;&amp;amp;" in text


async def test_advice_is_shown_where_there_is_some(client: Client, fleet: Fleet, looker: Looker) -> None:
    """Of policies in mode Advise; a fleet without them has no table for it."""
    assert "would have gained" not in (await client.ask("/"))[1]
    fleet.advice = "+12% to +31% over 7 days"
    looker.again()
    text = (await client.ask("/"))[1]
    assert "What TurboSpec would have gained" in text
    assert text.count(fleet.advice) == 2


async def test_nothing_is_served_but_what_is_named(
    client: Client, fleet: Fleet, looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotations, labels, managed fields and whatever a newer release adds stay where they are."""
    original = Fleet.list

    def list_with_secrets(self: Fleet, path: str, **query: str) -> list[dict[str, Any]]:
        found = copy.deepcopy(original(self, path, **query))
        for policy in found:
            policy["metadata"]["annotations"] = {"note": "s3cret"}
            policy["spec"]["token"] = policy["status"]["token"] = "s3cret"
            for engine in policy["status"]["engines"]:
                engine["token"] = engine["decision"]["token"] = engine["schedule"][0]["token"] = "s3cret"
        return found

    monkeypatch.setattr(Fleet, "list", list_with_secrets)
    looker.again()
    assert fleet.list("")[0]["metadata"]["annotations"]
    for path in (*PAGES, "/api/snapshot"):
        assert "s3cret" not in (await client.ask(path))[1]


async def test_programs_read_the_same(client: Client, fleet: Fleet, looker: Looker) -> None:
    """Names are stable, null is not known."""
    fleet.lost, fleet.unseen = {"chat-6b9f-1"}, {"clusterspeculationprofiles"}
    for _ in range(12):
        looker.again()
    async with client.session.get(f"http://127.0.0.1:{client.port}/api/snapshot") as answer:
        found = await answer.json()
    assert set(found) == {"at", "namespace", "error", "policies", "engines", "profiles", "notSeen", "history"}
    assert (found["namespace"], found["error"], len(found["notSeen"])) == ("team", None, 1)
    assert [each["name"] for each in found["policies"]] == ["chat", "code"]
    assert found["policies"][0]["reason"] == "EngineUnreachable"
    first, lost = found["engines"][0], found["engines"][1]
    rates = {each["draftTokens"]: each["tokensPerSecond"] for each in first["predictions"]}
    assert first["predictedTokensPerSecond"] == rates[first["draftTokens"]]
    assert {lost[name] for name in ("draftTokens", "tokensPerSecond", "predictedTokensPerSecond")} == {None}
    past = found["history"]
    assert len(past["secondsAgo"]) == 42
    assert [each["pod"] for each in past["engines"]] == [each["pod"] for each in found["engines"]]
    assert past["engines"][1]["draftTokens"][-1] is None
    assert past["engines"][1]["draftTokens"][0] is not None
    assert [(each["name"], each["fault"] is None) for each in found["profiles"]] == [
        (NAME, True),
        ("typed-by-hand", False),
    ]


async def test_what_is_not_there_has_a_page_that_says_so(client: Client, fleet: Fleet, looker: Looker) -> None:
    """And a way on; an empty fleet has a remedy, and a look that failed is told with the figures of the one before."""
    assert "There is no such page" in (await client.ask("/engines/team/chat/gone"))[1]
    fleet.unseen = {"speculationprofiles", "clusterspeculationprofiles"}
    for _ in range(12):
        looker.again()
    assert "Not looked at: " in (await client.ask("/profiles"))[1]
    fleet.list = lambda _path, **_query: []  # type: ignore[method-assign]
    looker.again()
    assert "No SpeculationPolicy in namespace team. Write one" in (await client.ask("/"))[1]
    assert "No policy governs an engine" in (await client.ask("/engines"))[1]
    looker.latest = fleet_with_error(looker)
    assert "The last look failed" in (await client.ask("/"))[1]


def fleet_with_error(looker: Looker) -> Any:
    """What is known after an answer that did not come."""
    from dataclasses import replace

    return replace(looker.latest, error="the API server does not answer")
