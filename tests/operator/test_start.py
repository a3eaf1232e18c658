"""Starting: what cannot work ends in one line; an API server that is not there yet is waited for."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.operator.operator_process import WAIT_SECONDS, get
from tests.support.ports import free_ports
from turbospec_operator.__main__ import main


@pytest.mark.parametrize("arguments", [[], ["help"], ["operator", "now"]])
def test_a_wrong_call_is_told_how_to_call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and the usage."""
    assert main(arguments) == 2
    assert "operator|webhook" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("TURBOSPEC_METRICS_PORT", "none"), ("KUBECONFIG", "/nowhere"), ("TURBOSPEC_METRICS_HOST", "203.0.113.1")],
)
def test_a_start_that_cannot_work_ends_in_one_line(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad setting, no way to the API server, an address that is not ours."""
    for variable in list(os.environ):
        if variable.startswith(("TURBOSPEC_", "KUBE", "PROMETHEUS")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("KUBECONFIG", str(_dead_kubeconfig(tmp_path)))
    monkeypatch.setenv(name, value)
    assert main(["operator"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("cannot start: ")
    assert errors.count("\n") == 1


def test_an_api_server_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    """Alive, not ready, and the probe says why. Started as its container starts it."""
    (port,) = free_ports()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TURBOSPEC_", "KUBERNETES_"))},
        "KUBECONFIG": str(_dead_kubeconfig(tmp_path)),
        "TURBOSPEC_METRICS_HOST": "127.0.0.1",
        "TURBOSPEC_METRICS_PORT": str(port),
        "TURBOSPEC_INTERVAL_SECONDS": "0.2",
    }
    log = tmp_path / "operator.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "turbospec_operator", "operator"]
        operator = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        told: tuple[int, str] = (0, "")
        while "cannot get leases.coordination.k8s.io" not in told[1]:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
            told = get(port, "/readyz")
        assert told[0] == 503
        assert "no answer" in told[1]
        assert get(port, "/healthz") == (200, "ok\n")
        operator.terminate()
        assert operator.wait(WAIT_SECONDS) == 0
    finally:
        operator.kill()
        operator.wait()


def _dead_kubeconfig(folder: Path) -> Path:
    """A kubeconfig of a server where nobody listens: port 9 is discard."""
    path = folder / "dead.kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "dead",
                "clusters": [{"name": "dead", "cluster": {"server": "http://127.0.0.1:9"}}],
                "contexts": [{"name": "dead", "context": {"cluster": "dead", "user": "dead"}}],
                "users": [{"name": "dead", "user": {}}],
            }
        )
    )
    return path
