"""The real operator as a child process, and waiting for what it does by polling with a deadline."""

import asyncio
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

WAIT_SECONDS = 40.0
"""The machine may be building things beside the tests; a passing test waits a second or two."""


class OperatorProcess:
    """``python -m turbospec_operator operator``; its log is kept for failure messages and assertions."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.port = 0
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {**self.environment, "TURBOSPEC_METRICS_PORT": str(self.port)}
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "turbospec_operator", "operator"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: what a node failure or an out-of-memory kill does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(20)
        self._process = None
        return status

    def log(self) -> str:
        """Everything it has said."""
        return self._log.read_text() if self._log.exists() else ""

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of its HTTP side; status 0 while it does not listen."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
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
