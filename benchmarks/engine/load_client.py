"""Asks an engine as an operator and a Prometheus would, only more often: 10 scrapes and 5 documents a second."""

import http.client
import json
import sys
import time
from typing import Any

TOKEN = "of-the-benchmark"  # noqa: S105 - guards nothing
SCRAPES_PER_SECOND, PUTS_PER_SECOND = 10, 5


def document(name: str) -> dict[str, Any]:
    """A profile as large as a real one, on which K = 3 is best at every batch and acceptance this side of 0.95."""
    cells = [
        {
            "batch": batch,
            "contextTokens": context,
            "draftTokens": k,
            "microseconds": 8000 + 2 * batch + context // 100 + (150 * k if k <= 3 else 4000 * k),
            "samples": 20,
        }
        for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        for context in (256, 1024, 4096)
        for k in (0, 1, 3, 7)
    ]
    fit = {
        "perStep": 8_000_000_000, "perBatchedToken": 0, "perKvToken": 0,
        "perDraftingStep": 0, "perDraftPass": 150_000_000, "perDraftToken": 0,
    }  # fmt: skip
    return {
        "id": name, "epoch": 1, "mode": "local", "allowedDraftTokens": [0, 1, 3, 7],
        "latency": {"cells": cells, "fit": fit},
    }  # fmt: skip


def put(port: int, content: dict[str, Any]) -> int:
    """The status of the answer."""
    return _ask(port, "PUT", "/v1/control", json.dumps(content))


def main(port: int) -> None:
    """Until it is ended."""
    began, scraped, sent = time.monotonic(), 0, 0
    while True:
        passed = time.monotonic() - began
        if scraped < passed * SCRAPES_PER_SECOND:
            _ask(port, "GET", "/metrics", None)
            scraped += 1
        elif sent < passed * PUTS_PER_SECOND:
            put(port, {**document(f"d-{sent % 2}"), "reason": f"number {sent}"})
            sent += 1
        else:
            time.sleep(0.005)


def _ask(port: int, method: str, path: str, body: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
