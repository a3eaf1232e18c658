"""The quickstart's file does what its page says: injected, started, controllable, and under load."""

import importlib.metadata
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.webhook.test_injection import NONCE, RUNTIME, environment, patched
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator.injection import inject
from turbospec_operator.runtime_bundle import MOUNT_PATH, build_runtime_zip
from turbospec_operator.tokens import engine_token

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
OBJECTS = list(yaml.safe_load_all((ROOT / "docs" / "examples" / "quickstart.yaml").read_text()))
WAIT_SECONDS = 60.0

Raw = dict[str, Any]


def one(kind: str, name: str) -> Raw:
    """An object of the file."""
    (found,) = [each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return dict(found)


@pytest.fixture(scope="module")
def engine() -> Raw:
    """The container of the Deployment's pod as the webhook leaves it."""
    template = one("Deployment", "chat")["spec"]["template"]
    spec = SpeculationPolicySpec.model_validate(one("SpeculationPolicy", "chat")["spec"])
    outcome = inject(template, "quickstart", spec, RUNTIME, NONCE)
    assert outcome.injected, outcome.refusal
    (container,) = patched(template, outcome)["spec"]["containers"]
    return dict(container)


@pytest.fixture(scope="module")
def started(engine: Raw, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its command, run here with its variables and the very runtime in its place: serving and control address."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "turbospec.zip").write_bytes(build_runtime_zip())
    (folder / "engine.yaml").write_text(one("ConfigMap", "stand-in")["data"]["engine.yaml"])
    variables = {name: str(value).replace(MOUNT_PATH, str(folder)) for name, value in environment(engine).items()}
    words = [*engine["command"], *engine["args"]]
    assert words[0] == "python"
    places = {"/etc/stand-in/engine.yaml": str(folder / "engine.yaml"), "0.0.0.0": "127.0.0.1"}  # noqa: S104 the pod's
    command = [sys.executable, *(places.get(word, word) for word in words[1:]), "--port", "0", "--control-port", "0"]
    with subprocess.Popen(
        command, env=os.environ | variables, cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            ports = re.search(r"port (\d+), control port (\d+)", process.stdout.readline())
            assert ports, "the stand-in did not start"
            yield f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}"
        finally:
            process.kill()


def get(url: str, token: str | None = None) -> tuple[int, str]:
    """Status and body of a request."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310 ours
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def until(what: str, true: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_the_page_shows_the_policy_of_the_file() -> None:
    """And applies that file."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert yaml.safe_load(shown) == one("SpeculationPolicy", "chat")
    assert "kubectl apply -f docs/examples/quickstart.yaml" in PAGE


def test_the_image_is_the_one_that_the_chart_installs() -> None:
    """One build and one load."""
    chart = ROOT / "charts" / "turbospec"
    values, version = (yaml.safe_load((chart / name).read_text()) for name in ("values.yaml", "Chart.yaml"))
    image = f"{values['image']['repository']}:{version['appVersion']}"
    pods = [each["spec"]["template"]["spec"] for each in OBJECTS if each["kind"] == "Deployment"]
    assert {container["image"] for pod in pods for container in pod["containers"]} == {image}
    assert f"docker build -t {image} ." in PAGE


def test_nothing_is_put_into_the_command(engine: Raw) -> None:
    """A stand-in takes no --speculative-config: the policy names no method."""
    (written,) = one("Deployment", "chat")["spec"]["template"]["spec"]["containers"]
    assert [engine["command"], engine["args"]] == [written["command"], written["args"]]


def test_the_operators_token_opens_it(started: tuple[str, str]) -> None:
    """Ready as its probe asks, and closed to everybody else."""
    serving, control = started
    until("/health", lambda: get(f"{serving}/health")[0] == 200)
    assert get(f"{control}/v1/state", "another")[0] == 401
    assert get(f"{control}/v1/state", engine_token(RUNTIME.master_key, "quickstart", NONCE))[0] == 200


def test_the_load_reaches_it(started: tuple[str, str], tmp_path: Path) -> None:
    """Its script, against this engine."""
    serving, _ = started
    script = tmp_path / "load.py"
    script.write_text(one("ConfigMap", "stand-in")["data"]["load.py"].replace("http://chat:8000", serving))

    def generated() -> bool:
        found = re.search(r"^vllm:generation_tokens_total\S* (\S+)", get(f"{serving}/metrics")[1], re.MULTILINE)
        return found is not None and float(found[1]) > 0

    with subprocess.Popen([sys.executable, str(script)], env=os.environ | {"CLIENTS": "2"}) as process:
        try:
            until("tokens", generated)
        finally:
            process.kill()


def test_the_image_holds_all_that_the_stand_in_imports() -> None:
    """It is the operator's: what the command line needs besides is not in it."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import turbospec.cli.sim, turbospec.standin.many, turbospec.standin.server; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    distributions = importlib.metadata.packages_distributions()
    needed = {name.lower().replace("_", "-") for top in tops for name in distributions.get(top, ())} - {"turbospec"}
    lines = (ROOT / "requirements" / "operator.txt").read_text().splitlines()
    assert {"aiohttp", "click", "numpy"} <= needed <= {line.partition("==")[0] for line in lines if "==" in line}
