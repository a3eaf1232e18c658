"""Faults of clients, disks and clocks on the real server: whatever happens, steps go on, the next one is answered."""

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.live import GOOD, TOKEN, Engine, Serving, start, wait_for
from tests.engine.support import make_rig
from turbospec.engine import control_server, documents
from turbospec.wire.control_document import MAX_BODY_BYTES


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    started = start(tmp_path)
    yield started
    started.scheduler.shutdown()


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``count`` threads got, in any order."""
    results: list[Any] = []
    threads = [threading.Thread(target=lambda i=i: results.append(work(i))) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def no_warnings(caplog: pytest.LogCaptureFixture) -> bool:
    return not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR") and "control" in r.getMessage()]


def push(length: int, body: bytes) -> bytes:
    head = f"PUT /v1/control HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def test_10_mb_bodies_are_refused_before_they_are_parsed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing one would hold the interpreter for longer than many steps; here each is perfectly good JSON."""
    parsed: list[int] = []

    def loads(body: bytes, **more: Any) -> Any:
        parsed.append(len(body))
        return json.loads(body, **more)

    monkeypatch.setattr(documents, "json", SimpleNamespace(loads=loads))
    large = json.dumps({**GOOD, "reason": "x" * 10_000_000}).encode()
    with Serving(engine) as serving:
        before = serving.steps
        answers = at_once(8, lambda _: engine.put(large))
        assert serving.steps > before
        assert engine.put(GOOD)[0] == 200
    assert len(answers) == 8
    for status, answer in answers:
        assert (status, answer["code"]) == (413, "TooLarge")
        assert str(MAX_BODY_BYTES) in answer["message"]
    assert parsed == [len(json.dumps(GOOD))]


@pytest.mark.parametrize(
    ("request_line", "token", "status", "code"),
    [
        ("PUT /v1/control", "wrong", 401, "Unauthorized"),
        ("PUT /v1/state", TOKEN, 404, "NotFound"),
        ("POST /v1/control", TOKEN, 501, "BadRequest"),
        ("DELETE /v1/control", TOKEN, 501, "BadRequest"),
        ("PUT /v1/control HTTP/9.9 x", TOKEN, 400, "BadRequest"),
    ],
)
def test_10_mb_that_nobody_wants_are_refused_by_the_headers(
    engine: Engine, request_line: str, token: str, status: int, code: str
) -> None:
    """From strangers, to other paths, by other methods; the answer is read although the body is still being sent."""
    head = f"{request_line} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 10000000\r\n\r\n"
    with Serving(engine), socket.create_connection(("127.0.0.1", engine.port)) as client:
        client.settimeout(20)
        client.sendall(head.encode() + b"x" * 10_000_000)
        got, answer = answer_of(client)
    assert (got, answer["code"]) == (status, code)
    assert answer["message"]


def answer_of(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and content of what comes until the server closes."""
    received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("length", "status"),
    [("-1", 411), ("+5", 411), ("1e3", 411), ("5.0", 411), ("", 411), ("٣", 411), ("9" * 400, 413), ("65537", 413)],
)
def test_a_length_that_is_none_is_refused(engine: Engine, length: str, status: int) -> None:
    """Nothing is read by it."""
    head = f"PUT /v1/control HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n"
    with Serving(engine), socket.create_connection(("127.0.0.1", engine.port)) as client:
        client.settimeout(20)
        client.sendall(head.encode())
        client.shutdown(socket.SHUT_WR)
        assert answer_of(client)[0] == status
    assert engine.state().applied is None


def test_an_engine_without_a_file_descriptor_to_spare_does_not_ask_for_clients_all_the_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM may have used them up; a client that cannot be taken waits, and is served when there is room again."""
    taken: list[float] = []
    accept = control_server._Server.get_request

    def noted(self: Any) -> Any:
        taken.append(time.monotonic())
        return accept(self)

    monkeypatch.setattr(control_server._Server, "get_request", noted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Serving(engine), socket.socket() as client:
        client.settimeout(20)
        with Path("/dev/null").open() as newest:
            limit = newest.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            client.connect(("127.0.0.1", engine.port))
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            wait_for(lambda: len(taken) >= 4)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert client.recv(100).startswith(b"HTTP/1.0 200")
    assert taken[3] - taken[0] > 3 * control_server.ACCEPT_PAUSE_SECONDS * 0.9


def test_slow_clients_hold_up_nobody_for_long(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """More drip-feeding clients than there are places: they are cut off, others are served, and no step waits."""
    monkeypatch.setattr(control_server, "CONNECTION_SECONDS", 0.2)
    count = 2 * control_server.MAX_CONNECTIONS + 8
    with Serving(engine):
        clients = [socket.create_connection(("127.0.0.1", engine.port)) for _ in range(count)]
        try:
            for client in clients:
                client.sendall(b"PUT /v1/control HTTP/1.1\r\nAuth")
            assert engine.put(GOOD)[0] == 200
            for client in clients:
                client.settimeout(20)
                assert client.recv(100) == b""
        finally:
            for client in clients:
                client.close()


def drip(client: socket.socket, data: bytes) -> None:
    for byte in data:
        client.sendall(bytes([byte]))
        time.sleep(0.01)


def test_a_slow_body_is_dropped_and_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is cut off as well as nothing at all."""
    monkeypatch.setattr(control_server, "CONNECTION_SECONDS", 0.2)
    body = json.dumps(GOOD).encode()
    with Serving(engine), socket.create_connection(("127.0.0.1", engine.port)) as client:
        client.settimeout(20)
        client.sendall(push(len(body), b""))
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):  # sooner or later nobody listens any more
            drip(client, body * 100)
    assert engine.state().applied is None


def test_200_clients_at_once_are_all_answered(engine: Engine) -> None:
    """The kernel queues what the few threads cannot take at once; reads, documents and strangers alike."""

    def ask(number: int) -> int:
        if number % 4 == 0:
            return engine.put({**GOOD, "id": f"doc-{number}"})[0]
        return engine.ask("GET", ("/v1/state", "/metrics", "/v1/steps")[number % 3], token=TOKEN)[0]

    with Serving(engine):
        assert at_once(200, ask) == [200] * 200
    assert engine.state().counters.control_documents_applied == 50


@pytest.mark.parametrize("sent", [0, 1, 100])
def test_an_operator_killed_in_the_middle_of_a_push_changes_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture, sent: int
) -> None:
    """Its kernel resets the connection after a part of the body; the last document stays, nobody is alarmed."""
    assert engine.put(GOOD)[0] == 200
    body = json.dumps({**GOOD, "id": "half"}).encode()
    with Serving(engine):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", engine.port)) as client:
                client.sendall(push(len(body), body[:sent]))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        state = engine.state()
        assert state.applied is not None
        assert state.applied.id == "doc-1"
        assert engine.put({**GOOD, "id": "next"})[1]["changed"]
    assert no_warnings(caplog)


def test_a_client_that_hangs_up_without_reading_is_no_event(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """No traceback on the engine's log."""
    with Serving(engine):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", engine.port)) as client:
                client.sendall(b"GET /v1/state HTTP/1.1\r\nAuthorization: Bearer right\r\n\r\n")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        assert engine.ask("GET", "/healthz")[0] == 200
    assert no_warnings(caplog)


def test_noise_instead_of_http_is_answered_or_dropped(engine: Engine) -> None:
    """Port scanners and TLS clients come along."""
    with Serving(engine):
        for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n\r\n", b"x" * 70_000, b"PUT\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", engine.port)) as client:
                client.settimeout(20)
                client.sendall(noise)
                client.shutdown(socket.SHUT_WR)
                try:
                    answer = client.recv(100)
                except ConnectionResetError:
                    answer = b""
                assert not answer.startswith(b"HTTP/1.0 200")
                assert b"<html" not in answer.lower()
        assert engine.put(GOOD)[0] == 200


@pytest.mark.parametrize("folder", ["nowhere", "/proc", "/dev/full"])
def test_a_place_that_cannot_be_written_costs_one_line_and_the_resumption(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, folder: str
) -> None:
    """A missing folder, a read-only file system, no folder at all: documents are in force all the same."""
    engine = start(tmp_path, state_dir=tmp_path / folder)
    try:
        with Serving(engine):
            for number in range(5):
                assert engine.put({**GOOD, "id": f"doc-{number}"})[1]["changed"]
        assert engine.step() == 2
    finally:
        engine.scheduler.shutdown()
    assert sum("the control document" in message for message in caplog.messages) == 1
    assert sum("what was learnt" in message for message in caplog.messages) == 1


def test_a_full_disk_costs_one_line_until_there_is_room_again(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the kernel's own limit on the size of files: a part is written, the rest refused. The last whole document
    stays on disk, and no part of another."""
    engine.put(GOOD)
    (kept,) = [path for path in tmp_path.iterdir() if "learnt" not in path.name]
    before = kept.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Serving(engine):
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            answers = [engine.put({**GOOD, "id": f"full-{number}"}) for number in range(5)]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [(status, answer["changed"]) for status, answer in answers] == [(200, True)] * 5
        assert kept.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []
        assert sum("cannot keep the control document" in message for message in caplog.messages) == 1
        assert engine.put({**GOOD, "id": "room"})[0] == 200
    assert json.loads(kept.read_bytes())["id"] == "room"


def test_a_wall_clock_that_jumps_moves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlays end, fences hold and steps are timed by a clock that nobody sets."""
    engine.put(GOOD)
    with Serving(engine):
        for seconds in (0.0, 4e9):
            monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
            overlay = {**GOOD, "id": f"over-{seconds:.0f}", "allowedDraftTokens": [0], "ttlSeconds": 0.5}
            overlay["table"] = [{"fromBatch": 1, "toBatch": 8, "draftTokens": 0}]
            assert engine.put(overlay)[0] == 200
            assert engine.put({**GOOD, "id": "old", "epoch": 2})[1]["code"] == "StaleEpoch"
            wait_for(lambda: (applied := engine.state().applied) is not None and applied.id == "doc-1")
    assert engine.step() == 2


def test_a_step_clock_that_jumps_back_costs_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual machine that was moved: nothing is learnt from that step, and everything from the next."""
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a")
    rig.step()
    rig.step()
    rig.clock.now -= 5.0
    jumped = rig.step()
    assert jumped is not None
    assert jumped.interval_seconds is None
    after = rig.step(0.02)
    assert after is not None
    assert after.interval_seconds == pytest.approx(0.02)
    assert rig.runtime.unsupported() is None
