"""The control server: a few daemon threads in the scheduler's process that may cost serving nothing."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from turbospec.engine.control_requests import Answer, ControlApi, ControlRequests, refusal_answer
from turbospec.engine.environment import logger
from turbospec.engine.refusals import RequestRefusedError

__all__ = ["ControlApi", "ControlServer"]

MAX_CONNECTIONS = 16
"""Requests served at once. An operator and two Prometheus servers need three; more would take the interpreter
from serving."""

IDLE_SECONDS = 5.0
"""A client that sends nothing for this long is dropped."""

CONNECTION_SECONDS = 15.0
"""No request takes this long; a client that drips bytes is cut off."""

ACCEPT_PAUSE_SECONDS = 0.1
"""Without a file descriptor to spare a waiting client cannot be taken, and stays: asking for it again and again would
take the interpreter from serving."""

DRAIN_BYTES = 16 * 1024 * 1024
"""Of a refused body so much is read and thrown away, so that the client reads our answer and not a connection reset."""


class ControlServer:
    """Serves until ``close``. ``port`` is the one in use, which differs from the wanted one where that was taken."""

    def __init__(self, api: ControlApi, *, host: str, port: int, token_sha256: str | None) -> None:
        self._server = _bind(api, host, port, token_sha256)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._serve, name="turbospec-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Frees the port; requests being served are cut off."""
        self._server.closing.set()
        # A full house would keep the accepting thread from hearing of the shutdown.
        self._server.cut_off(older_than=0.0)
        try:
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        except OSError:
            logger.debug("the control port was closed already", exc_info=True)
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_off(older_than=0.0)

    def cut_off_slow_clients(self) -> None:
        """Ends connections that are open for longer than any request takes; called about once a second."""
        self._server.cut_off(older_than=CONNECTION_SECONDS)

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=5.0)


def _bind(api: ControlApi, host: str, port: int, token_sha256: str | None) -> "_Server":
    try:
        return _Server((host, port), api, token_sha256)
    except OSError as error:
        server = _Server((host, 0), api, token_sha256)
        logger.warning("control port %d cannot be used (%s): using %d", port, error, server.server_address[1])
        return server


class _Server(ThreadingHTTPServer):
    """Bounds how many connections are served at once and for how long."""

    daemon_threads = True
    block_on_close = False
    # What clients beyond it send the kernel drops; by the time it is sent again, seconds later, we may have given them
    # up as idle. Room for 256 costs nothing.
    request_queue_size = 256
    # Another engine on this port must be noticed; a port in TIME_WAIT after a restart must not matter: Linux's
    # SO_REUSEADDR.
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], api: ControlApi, token_sha256: str | None) -> None:
        self.requests = ControlRequests(api, token_sha256)
        self.closing = threading.Event()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the base class's look-up of our own name, which may wait for a DNS server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self) -> Any:
        """The next client."""
        try:
            return super().get_request()
        except OSError:
            self.closing.wait(ACCEPT_PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Waits for a free slot here, in the accepting thread: more clients queue in the kernel and cost us nothing."""
        self._slots.acquire()
        self._open[id(request)] = (request, time.monotonic())
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Frees the slot whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def cut_off(self, older_than: float) -> None:
        """Shuts down connections older than this many seconds; their threads then end by themselves."""
        limit = time.monotonic() - older_than
        for request, since in list(self._open.values()):
            if since <= limit:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """A client that went away is no error of the engine: one line at debug level, no traceback on its log."""
        logger.debug("control connection from %s ended early", client_address, exc_info=True)

    def _forget(self, request: Any) -> None:
        if self._open.pop(id(request), None) is not None:
            self._slots.release()


class _Handler(BaseHTTPRequestHandler):
    """One request per connection (HTTP/1.0): an idle kept-alive connection would hold one of few slots."""

    server: _Server
    server_version = "turbospec"
    sys_version = ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Every read."""
        self._answer(self._get)

    def do_PUT(self) -> None:
        """A control document."""
        self._answer(self._put)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class refuses by itself (no HTTP, a method that nothing here has): a refusal like any other."""
        status = HTTPStatus(code)
        refusal = RequestRefusedError("BadRequest", message or status.phrase)
        self._send(replace(refusal_answer(refusal), status=status))
        self._drain()

    def _get(self) -> Answer:
        return self.server.requests.get(self.path, self._header("Authorization"))

    def _put(self) -> Answer:
        requests = self.server.requests
        length = requests.admit(self.path, self._header("Authorization"), self._header("Content-Length"))
        return requests.put(self.rfile.read(length))

    def _header(self, name: str) -> str:
        return str(self.headers.get(name, ""))

    def _answer(self, work: Callable[[], Answer]) -> None:
        try:
            self._send(work())
        except RequestRefusedError as refusal:
            self._send(refusal_answer(refusal))
            self._drain()
        except OSError:
            raise  # the client went away: the server's own business
        except Exception:  # noqa: BLE001 - a failure of ours must be neither half an answer nor a stack on the wire
            logger.warning("a control request failed", exc_info=True)
            failure = RequestRefusedError("Failed", "the engine runtime failed on this request; its log says why")
            self._send(refusal_answer(failure))

    def _drain(self) -> None:
        """Reads what is left of a refused body for at most a second."""
        deadline, left = time.monotonic() + 1.0, DRAIN_BYTES
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.2)
            while left > 0 and time.monotonic() < deadline:
                received = len(self.connection.recv(65536))
                if not received:
                    return
                left -= received
        except OSError:
            return

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Requests come every few seconds for ever: not into the engine's log."""
