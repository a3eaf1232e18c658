"""Many engines in one process: two listening sockets, and the local address of a connection says for which engine it
is."""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from turbospec.standin.control import control
from turbospec.standin.engine import StandInEngine
from turbospec.standin.serving import serve

LOOPBACK = IPv4Network("127.0.0.0/8")
BACKLOG = 4096
"""Clients of a thousand engines may all connect at once."""
KEEP_ALIVE_SECONDS = 75.0

logger = logging.getLogger("turbospec.standin")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Serve = Callable[[StandInEngine, web.BaseRequest], Awaitable[web.StreamResponse]]


class StandInServer:
    """Serves the engines at their addresses: ``async with StandInServer(...)``.

    One engine gets sockets at exactly its address, whatever that is. Several share sockets that hear all addresses of
    the loopback device and no other device's, and serve only connections from 127/8 to 127/8.
    ``port`` and ``control_port`` are those in use; 0 asks for free ones. OSError where a wanted one is taken.
    """

    def __init__(self, engines: Mapping[str, StandInEngine], port: int, control_port: int) -> None:
        """ValueError for several engines of which any is not on a loopback address."""
        outside = [address for address in engines if IPv4Address(address) not in LOOPBACK]
        if len(engines) > 1 and outside:
            raise ValueError(f"{outside[0]} is not a loopback address (127.x.y.z): only one engine may be elsewhere")
        self._engines = engines
        self._only = next(iter(engines.values())) if len(engines) == 1 else None
        host = next(iter(engines)) if self._only is not None else None
        self._sockets = [listening_socket(host, wanted) for wanted in (port, control_port)]
        self.port, self.control_port = (int(one.getsockname()[1]) for one in self._sockets)
        self._runners: list[web.ServerRunner] = []

    async def __aenter__(self) -> Self:
        for one, answer in zip(self._sockets, (serve, _control), strict=True):
            # Without handler_cancellation a client that hangs up would go on being answered.
            server = web.Server(
                self._handler(answer), handler_cancellation=True, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS
            )
            runner = web.ServerRunner(server, shutdown_timeout=1.0)
            await runner.setup()
            self._runners.append(runner)
            await web.SockSite(runner, one, backlog=BACKLOG).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines.values():
            engine.pace.stop()
        for runner in self._runners:
            await runner.shutdown()
            await runner.cleanup()
        for one in self._sockets:
            one.close()

    def _handler(self, answer: Serve) -> Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            engine = self._only or self._addressed(request.transport)
            if engine is None:
                return web.Response(status=HTTPStatus.MISDIRECTED_REQUEST, text="no engine has this address\n")
            if not engine.ready:
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="the engine is starting\n")
            return await answer(engine, request)

        return handle

    def _addressed(self, transport: Any) -> StandInEngine | None:
        """The engine that a connection was made to; None for what does not come from this machine."""
        if transport is None or not transport.get_extra_info("peername", ("",))[0].startswith("127."):
            return None
        return self._engines.get(transport.get_extra_info("sockname")[0])


async def _control(engine: StandInEngine, request: web.BaseRequest) -> web.StreamResponse:
    return await control(engine.control, request)


def listening_socket(host: str | None, port: int) -> socket.socket:
    """A socket at ``host``; None: at all addresses of the loopback device."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host is None:
            _bind_to_loopback(sock)
        sock.bind((host or "0.0.0.0", port))  # noqa: S104 - of the loopback device only, and peers are looked at
    except OSError:
        sock.close()
        raise
    return sock


def _bind_to_loopback(sock: socket.socket) -> None:
    """Only one address can be bound, but all of 127/8 are wanted: so bind to the device that has them."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    except OSError as error:
        logger.warning("cannot bind to the loopback device alone (%s): connections from elsewhere are refused", error)
