"""An API server that answers from a dictionary, over real HTTP: what the commands talk to in golden tests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.cli.fake_api import SHUTDOWN_POLL_SECONDS

Raw = dict[str, Any]

CONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: me, namespace: team}}}}]
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: me, user: {{}}}}]
"""


class RecordedApi:
    """``answers`` by path, or by ``path?labelSelector`` where that is there; a text is a log.

    Paths in ``forbidden`` answer 403. ``received`` holds (method, path, body) of changes, ``asked`` the paths of all
    requests.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.answers: dict[str, Any] = {}
        self.forbidden: set[str] = set()
        self.denied_reviews: set[str] = set()
        self.received: list[tuple[str, str, Raw]] = []
        self.asked: list[str] = []

    def answer(self, method: str, target: str, body: Raw) -> tuple[int, Any]:
        """Status and object."""
        url = urlsplit(target)
        path = url.path
        self.asked.append(path)
        if path in self.forbidden:
            return 403, {"message": f'cannot list at {path}: User "me" may not'}
        if path.endswith("subjectaccessreviews"):
            resource = body["spec"]["resourceAttributes"]["resource"]
            return 201, {"status": {"allowed": resource not in self.denied_reviews}}
        if path not in self.answers:
            known = any(path.rpartition("/")[0] == each for each in self.answers)
            return 404, {"message": f'"{path.rpartition("/")[2]}" not found' if known else "404 page not found"}
        if method != "GET":
            self.received.append((method, path, body))
        (selector,) = parse_qs(url.query).get("labelSelector", [""])
        return 200, self.answers.get(f"{path}?{selector}", self.answers[path])


@contextmanager
def recorded_api(folder: Path) -> Iterator[RecordedApi]:
    """The server on a free port, and a kubeconfig for it."""
    api = RecordedApi(folder / "kubeconfig")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_PATCH(self) -> None:
            self._answer("PATCH")

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def _answer(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            status, answer = api.answer(method, self.path, body)
            text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.kubeconfig.write_text(CONFIG.format(port=server.server_address[1]))
    thread = threading.Thread(target=server.serve_forever, args=(SHUTDOWN_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
