"""`turbospec dashboard` as a process: what people read, how it ends, and what it needs."""

import re
import signal
import socket
import subprocess
import sys
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.cli.fleet_samples import ALL_POLICIES, GOLDEN, POLICIES, run
from tests.cli.recorded_api import RecordedApi
from turbospec.cli.web import command
from turbospec.cli.web.looking import Looker

PROFILES = POLICIES.replace("speculationpolicies", "speculationprofiles")
CLUSTER_PROFILES = ALL_POLICIES.replace("speculationpolicies", "clusterspeculationprofiles")


@pytest.fixture
def fleet_api(fleet_api: RecordedApi) -> RecordedApi:
    """A cluster with policies and without profiles, which KUBECONFIG names."""
    fleet_api.answers |= {PROFILES: {"items": []}, CLUSTER_PROFILES: {"items": []}}
    return fleet_api


@pytest.mark.usefixtures("fleet_api")
def test_it_says_where_it_is_serves_there_and_ends_at_ctrl_c() -> None:
    """One line, exit status 0, nothing on stderr; another name is refused by the process as by the tests' server."""
    arguments = [sys.executable, "-m", "turbospec.cli.main", "dashboard", "--port", "0", "--no-browser"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert url, process.communicate()
        with urlopen(url[0], timeout=30) as answer:  # noqa: S310 - our own process
            assert "chat: " not in (text := answer.read().decode())
            assert "1/2 engines controlled. chat-2: cannot be reached." in text
        with pytest.raises(HTTPError, match="421"):
            urlopen(Request(url[0], headers={"Host": "evil.example"}), timeout=30)  # noqa: S310 - our own process
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert said.replace(url[1], "PORT") + rest == (GOLDEN / "dashboard.txt").read_text()
    assert (process.returncode, errors) == (0, "")


def test_rights_of_top_are_enough(fleet_api: RecordedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies are asked for, and profiles, which need not be allowed; no pods, no Secrets, nothing is changed."""
    fleet_api.forbidden = {PROFILES, CLUSTER_PROFILES}
    seen = []

    async def serve(looker: Looker, port: int, *, open_it: bool) -> None:
        seen.append((looker.latest, port, open_it))

    monkeypatch.setattr(command, "_serve", serve)
    assert run("dashboard").exit_code == 0
    assert run("dashboard", "-A", "--port", "0").exit_code == 0
    (one, _, open_it), (other, port, _) = seen
    assert (one.where, other.where, port, open_it) == ("team", None, 0, False)
    assert (len(one.policies), len(other.policies)) == (2, 3)
    assert len(one.profiles.faults) == 2
    every = PROFILES.replace("/namespaces/team", "")
    assert set(fleet_api.asked) == {POLICIES, ALL_POLICIES, PROFILES, every, CLUSTER_PROFILES}
    assert fleet_api.received == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kubeconfig", "/nonexistent"], "Set KUBECONFIG, --kubeconfig or --context"),
        (["-n", "secret"], "ask the cluster's administrator for that permission"),
        (["-n", "bare"], "resources are not installed"),
        (["--port", "{taken}"], "of 127.0.0.1: Address already in use; choose another --port, or --port 0"),
    ],
)
def test_errors_are_one_line_with_a_remedy(fleet_api: RecordedApi, arguments: list[str], said: str) -> None:
    """On stderr, exit status 1, before anything is served."""
    fleet_api.forbidden = {POLICIES.replace("team", "secret")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("dashboard", *(each.replace("{taken}", port) for each in arguments))
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("fleet_api")
def test_looks_that_end_by_a_defect_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that stands still would look like a fleet that does; the defect's traceback is told by its thread."""
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.append(arguments.exc_type))
    monkeypatch.setattr(Looker, "until", lambda _looker, _stopped: {"a": 1}["missing"])
    result = run("dashboard", "--port", "0")
    assert result.exit_code == 1
    assert "which is a defect" in result.stderr
    assert told == [KeyError]
