"""Process 1 of a node's namespaces: makes the mounts, starts the components, restarts what exits, reaps orphans.

Killing it ends every process of the node and drops every mount, because both hang on its namespaces. Run by
`e2e.cluster.node` with the path of a JSON file, see `BoxSpec`. Only the standard library is imported: it lives long.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

RESTART_PAUSE_SECONDS = 1.0
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """What a node's process 1 has to set up."""

    hostname: str
    log_folder: str
    bind_mounts: list[tuple[str, str]]  # (source, target)
    tmpfs_mounts: list[str]
    commands: dict[str, list[str]]  # in starting order
    start_after_socket: dict[str, str] = field(default_factory=dict)  # component -> Unix socket it cannot do without


class Supervisor:
    """Keeps every component running until process 1 is killed."""

    def __init__(self, spec: BoxSpec, environment: dict[str, str]) -> None:
        self._spec = spec
        self._environment = environment
        self._running: dict[int, str] = {}
        self._due = dict.fromkeys(spec.commands, 0.0)  # component -> monotonic time to start it at

    def run(self) -> None:
        """Never returns before SIGTERM."""
        watched = {signal.SIGCHLD, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        while True:
            self._start_due()
            received = signal.sigtimedwait(watched, 0.1 if self._due else 3600.0)
            if received is not None and received.si_signo == signal.SIGTERM:
                return
            self._reap()

    def _start_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, at in self._due.items() if at <= now]:
            awaited = self._spec.start_after_socket.get(name)
            if awaited is None or Path(awaited).is_socket():
                del self._due[name]
                self._running[self._start(name)] = name

    def _start(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = f"{self._spec.log_folder}/{name}.log"
        command = self._spec.commands[name]
        return os.posix_spawnp(
            command[0],
            command,
            self._environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigmask=[],
        )

    def _reap(self) -> None:
        """Collect whatever ended: our components, and orphans that the kernel handed to process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if name := self._running.pop(pid, None):
                code = os.waitstatus_to_exitcode(status)
                print(f"{name} exited with {code}; starting it again", flush=True)
                self._due[name] = time.monotonic() + RESTART_PAUSE_SECONDS


def main() -> None:
    """Set the node up and supervise it."""
    spec = BoxSpec(**json.loads(Path(sys.argv[1]).read_text()))
    socket.sethostname(spec.hostname)
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))  # a session's soft limit is often 1024
    _mount("--make-rshared", "/")  # kubelet and containerd must see each other's mounts
    for source, target in spec.bind_mounts:
        _mount("--bind", source, target)
    for target in spec.tmpfs_mounts:
        _mount("-t", "tmpfs", "tmpfs", target)
    # with a proxy set, calls between API server, webhooks and kubelet would leave for the proxy and fail
    proxies = {name for variable in PROXY_VARIABLES for name in (variable, variable.lower())}
    environment = {name: value for name, value in os.environ.items() if name not in proxies}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    Supervisor(spec, environment).run()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
