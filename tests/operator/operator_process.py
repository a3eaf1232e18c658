"""The operator as a child process with its HTTP side, and waiting for what it does by polling with a deadline."""

import asyncio
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.operator.forked_operator import ForkedOperator
from tests.support.ports import free_ports

T = TypeVar("T")

WAIT_SECONDS = 40.0
"""The machine may be building things beside the tests; a passing test waits a second or two."""


class OperatorProcess(ForkedOperator):
    """``turbospec_operator operator``, answering probes and scrapes on ``port`` of loopback, another one each start."""

    port = 0

    def start(self) -> None:
        """Start it; returns at once."""
        (self.port,) = free_ports()
        self.environment["TURBOSPEC_METRICS_PORT"] = str(self.port)
        super().start()

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.signal(signal.SIGTERM)
        status = self.exit_status()
        assert status is not None, self.log()
        return status

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of its HTTP side; status 0 while it does not listen."""
        return get(self.port, path)


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of what answers on this port of loopback; status 0 where nobody listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


async def eventually(what: str, probe: Callable[[], Awaitable[T | None]], operator: OperatorProcess) -> T:
    """The first result that is not None or False; fails with the operator's log after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = await probe()
        if found is not None and found is not False:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what}: not within {WAIT_SECONDS} s; the operator's log:\n{operator.log()}")
