"""Asks an engine as an operator and a Prometheus would, only more often, or sends it what nobody should.

python -m benchmarks.engine.load_client PORT asked|hostile
"""

import http.client
import json
import sys
import time
from collections.abc import Callable
from typing import Any

TOKEN = "of-the-benchmark"  # noqa: S105 - guards nothing
SCRAPES_PER_SECOND, PUTS_PER_SECOND = 10, 5
HOSTILE_PER_SECOND = 10
LARGE = b"x" * 10_000_000
"""Refused by its length."""
NESTED = b"[" * 65_000
"""As long as may be; no JSON."""


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


def asked(port: int) -> None:
    """10 scrapes and 5 documents a second until it is ended."""
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


def hostile(port: int) -> None:
    """10 refused requests a second until it is ended: bodies of 10 MB, no JSON, a wrong document, a wrong token."""
    wrong = json.dumps({**document("wrong"), "allowedDraftTokens": [0, 1, 3, 64]})
    turns: list[tuple[str | bytes, str, int]] = [
        (LARGE, TOKEN, 413), (NESTED, TOKEN, 400), (wrong, TOKEN, 422), (wrong, "a stranger", 401)
    ]  # fmt: skip
    began, sent = time.monotonic(), 0
    while True:
        if sent >= (time.monotonic() - began) * HOSTILE_PER_SECOND:
            time.sleep(0.005)
            continue
        body, token, status = turns[sent % len(turns)]
        try:
            answered = _ask(port, "PUT", "/v1/control", body, token)
        except ConnectionError:  # cut off while it was still sending
            answered = status
        if answered != status:
            raise RuntimeError(f"the engine answered {answered} where {status} was due")
        sent += 1


CLIENTS: dict[str, Callable[[int], None]] = {"asked": asked, "hostile": hostile}


def _ask(port: int, method: str, path: str, body: str | bytes | None, token: str = TOKEN) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


if __name__ == "__main__":
    CLIENTS[sys.argv[2]](int(sys.argv[1]))
