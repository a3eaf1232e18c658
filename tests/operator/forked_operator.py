"""Operators as children of a process that has imported everything already: a hundred starts cost seconds, not minutes.

Each is a process of its own with the real entry point; killing one is SIGKILL, as a node failure is. That a fresh
interpreter starts one as well is for test_start.py to see.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from kubernetes.aio.config import kube_config as aio_kube_config
from kubernetes.config import kube_config

from turbospec_operator.__main__ import main

PR_SET_PDEATHSIG = 1

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["turbospec_operator.main", "tests.operator.forked_operator"])


class ForkedOperator:
    """``python -m turbospec_operator operator`` with this environment, in the end without the minute of imports."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = {"TURBOSPEC_METRICS_PORT": "0", "TURBOSPEC_METRICS_HOST": "127.0.0.1", **environment}
        self._log = log
        self._process: multiprocessing.process.BaseProcess | None = None

    @property
    def name(self) -> str:
        """Its name in the Lease."""
        return self.environment["TURBOSPEC_IDENTITY"]

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start it; returns at once."""
        process = _processes.Process(target=_run, args=(self.environment, str(self._log)), daemon=True)
        process.start()
        self._process = process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, where it still runs."""
        if self._process is not None and self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def exit_status(self) -> int | None:
        """Waits for its end a while; None where it does not end."""
        if self._process is None:
            return None
        self._process.join(60)
        return self._process.exitcode

    def log(self) -> str:
        """Everything it has said."""
        return self._log.read_text() if self._log.exists() else ""


def _run(environment: dict[str, str], log: str) -> None:
    # A test run that is killed leaves no operator behind: the fork server ends with it, and we with the fork server.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    for clients in (kube_config, aio_kube_config):  # which read the variable when they were imported
        clients.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(main(["operator"]))
