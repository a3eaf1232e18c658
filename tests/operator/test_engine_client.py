"""Talking to engines: whatever an engine does, the answer is a state or one line of reason, in bounded time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from tests.operator.engine_stand_in import EngineStandIn
from turbospec.wire.control_document import ControlDocument, ControlMode
from turbospec_operator import engines
from turbospec_operator.engines import EngineClient, EngineEndpoint, EngineError

DOCUMENT = ControlDocument(id="d-1", epoch=1, mode=ControlMode.LOCAL, allowed_draft_tokens=[0, 1])


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    """A client as the operator uses it."""
    async with EngineClient() as opened:
        yield opened


def at(port: int, token: str = "right") -> EngineEndpoint:  # noqa: S107 guards nothing
    """An endpoint on loopback."""
    return EngineEndpoint("127.0.0.1", port, token)


async def test_a_state_is_read_and_a_document_is_put_with_the_token(client: EngineClient) -> None:
    """The way it goes every two seconds."""
    async with EngineStandIn("right") as engine:
        assert (await client.state(at(engine.port))).limits.max_num_seqs == 16
        answer = await client.put_control(at(engine.port), DOCUMENT)
        assert (answer.id, answer.changed) == ("d-1", True)
        assert engine.documents == [DOCUMENT]


async def test_a_wrong_token_is_told_apart_from_a_refused_document(client: EngineClient) -> None:
    """The first is about keys, the second about content."""
    async with EngineStandIn("right") as engine:
        with pytest.raises(EngineError, match="token") as caught:
            await client.put_control(at(engine.port, "wrong"), DOCUMENT)
        assert (caught.value.status, caught.value.refusal) == (401, None)
        engine.refusal = (422, {"code": "BadTable", "message": "rows\noverlap"})
        with pytest.raises(EngineError) as caught:
            await client.put_control(at(engine.port), DOCUMENT)
        assert caught.value.refusal == "BadTable: rows overlap"


async def test_a_state_that_cannot_be_read_names_the_field(client: EngineClient) -> None:
    """An engine of another version is no reason to fail the round."""
    async with EngineStandIn() as engine:
        engine.state_body = b'{"controlVersions": "many"}'
        with pytest.raises(EngineError, match="controlVersions"):
            await client.state(at(engine.port))


async def test_nobody_listening_is_one_line(client: EngineClient) -> None:
    """With the address that was tried."""
    async with EngineStandIn() as engine:
        port = engine.port
    with pytest.raises(EngineError, match=f"cannot reach 127.0.0.1:{port}") as caught:
        await client.state(at(port))
    assert "\n" not in str(caught.value)


Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a handler at /v1/state; gives the port."""
    runners: list[web.AppRunner] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> int:
        app = web.Application()
        app.add_routes([web.get("/v1/state", handler)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_an_engine_that_hangs_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round is not held up by it: the request ends by itself, and nothing of it is left open."""
    monkeypatch.setattr(engines, "REQUEST_SECONDS", 0.2)
    hung_up = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        while not transport.is_closing():  # noqa: ASYNC110 - a lost connection signals nothing to its handler
            await asyncio.sleep(0.01)
        hung_up.set()
        return web.Response()

    port = await serve(hang)
    async with EngineClient() as client:
        with pytest.raises(EngineError, match=r"no answer from .* in 0.2 s"):
            await client.state(at(port))
        await hung_up.wait()


async def test_an_endless_answer_is_cut_off(
    client: EngineClient, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that somebody else controls cannot fill the operator's memory."""
    monkeypatch.setattr(engines, "MAX_STATE_BYTES", 10_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 4096)

    with pytest.raises(EngineError, match="larger than 10000 bytes"):
        await client.state(at(await serve(endless)))


async def test_a_redirect_is_not_followed(client: EngineClient, serve: Serve) -> None:
    """The token goes to the engine and nowhere else."""
    asked: list[str] = []

    async def trap(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Authorization"])
        return web.json_response({})

    trap_port = await serve(trap)

    async def redirect(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"http://127.0.0.1:{trap_port}/v1/state")

    with pytest.raises(EngineError, match="HTTP 302"):
        await client.state(at(await serve(redirect)))
    assert asked == []


def test_a_token_is_never_printed() -> None:
    """Endpoints end up in logs."""
    assert "secret-token" not in repr(at(1, "secret-token"))


def test_ipv6_addresses_get_brackets() -> None:
    """Pods of an IPv6 cluster."""
    assert EngineEndpoint("fd00::1", 9476, "t").url("/v1/state") == "http://[fd00::1]:9476/v1/state"
