"""A Prometheus that answers range queries from recorded samples, over real HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.advise.scraped import RecordedPrometheus
from turbospec.advise.queries import Span


class PrometheusServer:
    """``samples`` are what it knows, ``fault`` is what it answers instead: (status, body)."""

    def __init__(self, samples: RecordedPrometheus) -> None:
        self.samples = samples
        self.url = ""
        self.token: str | None = None
        self.fault: tuple[int, str] | None = None
        self.asked: list[tuple[str, Span]] = []
        self.headers: list[dict[str, str]] = []

    def answer(self, path: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[int, str]:
        """Status and body."""
        self.headers.append(headers)
        if self.fault is not None:
            return self.fault
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, "Unauthorized"
        if path != "/api/v1/query_range":
            return 404, "404 page not found"
        span = Span(*(round(float(query[name][0])) for name in ("start", "end", "step")))
        self.asked.append((query["query"][0], span))
        if (span.end - span.start) // span.step >= 11_000:
            return 400, json.dumps({"status": "error", "error": "exceeded maximum resolution of 11,000 points"})
        found = self.samples.ranges(query["query"][0], span)
        result = [
            {"metric": labels, "values": [[at, str(value)] for at, value in values.items()]} for labels, values in found
        ]
        return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


@contextmanager
def prometheus_server(samples: RecordedPrometheus) -> Iterator[PrometheusServer]:
    """The server on a free port."""
    prometheus = PrometheusServer(samples)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            status, text = prometheus.answer(place.path, parse_qs(place.query), dict(self.headers.items()))
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    prometheus.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield prometheus
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
