"""A node's process 1: what exits is started again, and what needs a socket waits for it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from e2e.cluster.box import BoxSpec

SUPERVISE = """\
import json, os, sys
from e2e.cluster.box import BoxSpec, Supervisor
Supervisor(BoxSpec(**json.loads(sys.argv[1])), dict(os.environ)).run()
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def supervise(tmp_path: Path) -> Callable[[BoxSpec], subprocess.Popen[bytes]]:
    def start(spec: BoxSpec) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SUPERVISE, json.dumps(asdict(spec))], cwd=Path.cwd())

    assert tmp_path.exists()
    return start


def spec(folder: Path, commands: dict[str, list[str]], sockets: dict[str, str] | None = None) -> BoxSpec:
    return BoxSpec("test", str(folder), [], [], commands, sockets or {})


def test_a_component_that_exits_is_started_again(
    tmp_path: Path, supervise: Callable[[BoxSpec], subprocess.Popen[bytes]]
) -> None:
    """As a service manager would: kubelet may lose its race against containerd. Its log goes on in one file."""
    process = supervise(spec(tmp_path, {"crasher": ["sh", "-c", "echo started; exit 3"]}))
    try:
        log = tmp_path / "crasher.log"
        wait_for(lambda: log.exists() and log.read_text().count("started") >= 2)
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_a_component_waits_for_the_socket_it_needs(
    tmp_path: Path, supervise: Callable[[BoxSpec], subprocess.Popen[bytes]]
) -> None:
    """It is not started, and so cannot crash, before the other's socket is there."""
    path = tmp_path / "other.sock"
    stay = ["setpriv", "--pdeathsig", "KILL", "sleep", "60"]  # outside a node's namespaces nothing else would end it
    commands = {"first": stay, "second": stay}
    process = supervise(spec(tmp_path, commands, {"second": str(path)}))
    try:
        wait_for((tmp_path / "first.log").exists)
        assert not (tmp_path / "second.log").exists()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            wait_for((tmp_path / "second.log").exists)
    finally:
        process.terminate()
        process.wait(timeout=30)
