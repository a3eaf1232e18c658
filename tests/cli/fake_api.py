"""An API server with our kinds, Jobs, pods and logs, in memory, over real HTTP: what the commands talk to in tests."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Raw = dict[str, Any]

SHUTDOWN_POLL_SECONDS = 0.01
"""How often the server looks whether it is to end; its own half second is most of what a test here takes."""

CONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts:
- {{name: here, context: {{cluster: here, user: me, namespace: team}}}}
- {{name: elsewhere, context: {{cluster: nowhere, user: me}}}}
clusters:
- {{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}
- {{name: nowhere, cluster: {{server: "http://127.0.0.1:1"}}}}
users:
- {{name: me, user: {{}}}}
"""


class FakeApi:
    """``objects`` by path below the group version; ``logs`` by pod; paths in ``forbidden`` answer 403."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, Raw] = {}
        self.logs: dict[str, str] = {}
        self.forbidden: set[str] = set()
        self.installed = True
        self.dry_runs = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*fake.get(self.path))

            def do_POST(self) -> None:
                self._answer(*fake.put(self.path, self._body(), new=True))

            def do_PUT(self) -> None:
                self._answer(*fake.put(self.path, self._body(), new=False))

            def log_message(self, *_: Any) -> None:
                """Quiet."""

            def _body(self) -> Raw:
                body: Raw = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                return body

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(CONFIG.format(port=self._server.server_port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(SHUTDOWN_POLL_SECONDS,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, raw: Raw, plural: str) -> None:
        """An object that is there."""
        namespace = raw["metadata"].get("namespace")
        folder = plural if namespace is None else f"namespaces/{namespace}/{plural}"
        self.objects[f"{folder}/{raw['metadata']['name']}"] = raw

    def get(self, target: str) -> tuple[int, bytes]:
        """A list, an object or a log."""
        url = urlsplit(target)
        path = _below_version(url.path)
        if path.endswith("/log"):
            pod = path.split("/")[-2]
            return (200, self.logs[pod].encode()) if pod in self.logs else _failure(404, f'pods "{pod}" not found')
        refused = self._refusal(path)
        if refused is not None:
            return refused
        if path in self.objects:
            return 200, json.dumps(self.objects[path]).encode()
        folder, _, last = path.rpartition("/")
        plural = last if (not folder or folder.startswith("namespaces/")) and last.isalpha() else ""
        if plural in {"jobs", "pods", "speculationprofiles", "clusterspeculationprofiles"}:
            items = [raw for place, raw in self.objects.items() if _in_list(place, folder, plural)]
            return 200, json.dumps({"kind": "List", "metadata": {}, "items": items}).encode()
        return _failure(404, f'"{last}" not found')

    def put(self, target: str, body: Raw, *, new: bool) -> tuple[int, bytes]:
        """Create (below the collection's path) or replace (at the object's own)."""
        url = urlsplit(target)
        path = _below_version(url.path)
        refused = self._refusal(path)
        if refused is not None:
            return refused
        if new:
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return _failure(409, f'"{body["metadata"]["name"]}" already exists')
        if "dryRun" in parse_qs(url.query):
            self.dry_runs += 1
        else:
            self.objects[path] = body
        return 201, json.dumps(body).encode()

    def _refusal(self, path: str) -> tuple[int, bytes] | None:
        if not self.installed and "speculation" in path:
            return 404, b"404 page not found\n"
        if any(path.startswith(each) for each in self.forbidden):
            return _failure(403, f'User "me" cannot reach "{path}"')
        return None


def _below_version(path: str) -> str:
    parts = path.strip("/").split("/")
    return "/".join(parts[2:] if parts[0] == "api" else parts[3:])


def _in_list(place: str, folder: str, plural: str) -> bool:
    *where, kind, _ = place.split("/")
    return kind == plural and (not folder or "/".join(where) == folder)


def _failure(status: int, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"kind": "Status", "message": message, "code": status}).encode()
