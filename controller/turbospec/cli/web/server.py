"""The local web server: who may ask, what they may ask, and what goes with every answer."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.resources import files

from aiohttp import web

from turbospec.cli.web.engines import engine, engines
from turbospec.cli.web.layout import page
from turbospec.cli.web.looking import Look
from turbospec.cli.web.markup import link, node
from turbospec.cli.web.overview import overview
from turbospec.cli.web.profiles import ACCEPTANCES, DEFAULT_ACCEPTANCE, profile, profiles
from turbospec.cli.web.snapshot import snapshot

ADDRESS = "127.0.0.1"
NAMES = ("localhost", ADDRESS, "[::1]")
METHODS = ("GET", "HEAD")
STATIC = {
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    # Nothing inline and nothing from elsewhere: text of the cluster that got into a page as markup would do nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "turbospec",
}
SHUTDOWN_SECONDS = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def listening(port: int) -> socket.socket:
    """A socket that only this machine reaches; 0 is a free port. Raises OSError where the port cannot be had."""
    # Which also lets a dashboard that is started again go before the connections of the one before have timed out.
    return socket.create_server((ADDRESS, port))


@asynccontextmanager
async def serving(latest: Callable[[], Look], sock: socket.socket) -> AsyncIterator[str]:
    """Serve while the context is open, and close the socket with it; yields the address."""
    runner = web.AppRunner(application(latest), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        yield f"http://{ADDRESS}:{sock.getsockname()[1]}"
    finally:
        await runner.cleanup()
        sock.close()


def application(latest: Callable[[], Look]) -> web.Application:
    """Pages and document of what ``latest`` returns."""
    app = web.Application(middlewares=[_guard])
    app.on_response_prepare.append(_with_headers)
    app.add_routes([web.get(path, handler) for path, handler in _routes(latest).items()])
    return app


def _routes(latest: Callable[[], Look]) -> dict[str, Handler]:
    async def answer_overview(_request: web.Request) -> web.Response:
        return _html(overview(latest()))

    async def answer_engines(_request: web.Request) -> web.Response:
        return _html(engines(latest()))

    async def answer_engine(request: web.Request) -> web.Response:
        asked = request.match_info
        found = engine(latest(), (asked["namespace"], asked["policy"], asked["pod"]))
        return await answer_missing(request) if found is None else _html(found)

    async def answer_profiles(_request: web.Request) -> web.Response:
        return _html(profiles(latest()))

    async def answer_profile(request: web.Request) -> web.Response:
        asked = request.query.get("acceptance", f"{DEFAULT_ACCEPTANCE:g}")
        acceptance = next((each for each in ACCEPTANCES if f"{each:g}" == asked), None)
        if acceptance is None:
            allowed = ", ".join(f"{each:g}" for each in ACCEPTANCES)
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=f"acceptance is none of {allowed}\n")
        found = profile(latest(), request.match_info.get("namespace"), request.match_info["name"], acceptance)
        return await answer_missing(request) if found is None else _html(found)

    async def answer_snapshot(_request: web.Request) -> web.Response:
        return web.json_response(snapshot(latest()))

    async def answer_missing(_request: web.Request) -> web.Response:
        said = node("p", "It may have gone, or be of another namespace. ", link("All policies", "/", "policies"))
        return _html(page(latest(), "There is no such page", "", said), HTTPStatus.NOT_FOUND)

    return {
        "/": answer_overview,
        "/engines": answer_engines,
        "/engines/{namespace}/{policy}/{pod}": answer_engine,
        "/profiles": answer_profiles,
        "/profiles/cluster/{name}": answer_profile,
        "/profiles/namespaces/{namespace}/{name}": answer_profile,
        "/api/snapshot": answer_snapshot,
        "/static/{name}": _answer_static,
        "/{rest:.*}": answer_missing,
    }


async def _answer_static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in STATIC:
        raise web.HTTPNotFound
    text = (files("turbospec.cli.web") / "static" / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=STATIC[name], charset="utf-8")


def _html(text: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only this machine's own names: a page elsewhere whose name was made to point here (DNS rebinding) asks by its
    own. And only reading."""
    port = request.transport.get_extra_info("sockname")[1] if request.transport is not None else None
    if request.headers.getall("Host", []) not in [[f"{name}:{port}"] for name in NAMES]:
        said = f"This is turbospec dashboard: open http://{ADDRESS}:{port}/ and no other name, nor another port.\n"
        return web.Response(status=HTTPStatus.MISDIRECTED_REQUEST, text=said)
    if request.method not in METHODS:
        return web.Response(
            status=HTTPStatus.METHOD_NOT_ALLOWED,
            text="The dashboard only shows.\n",
            headers={"Allow": ", ".join(METHODS)},
        )
    return await handler(request)


async def _with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
