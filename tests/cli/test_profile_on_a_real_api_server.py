"""``turbospec profile`` against a real API server: its validation, its permissions, its words."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.samples import EXAMPLE, NAME, example
from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.apiserver


@pytest.fixture
def namespace(api_with_kinds: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh namespace, and the administrator's kubeconfig."""
    name = f"cli-{secrets.token_hex(4)}"
    api_with_kinds.create_namespace(name)
    monkeypatch.setenv("KUBECONFIG", str(api_with_kinds.kubeconfig))
    yield name
    api_with_kinds.kubectl("delete", "cspecprof", name, "--ignore-not-found")


def test_a_profile_goes_in_out_and_up(run: Run, api_server: ApiServer, namespace: str) -> None:
    """What the API server stores is what the file held; a changed spec replaces it, a changed key is refused."""
    assert (
        run("import", str(EXAMPLE), "-n", namespace).output
        == f"speculationprofile/{NAME} created in namespace {namespace}\n"
    )
    assert yaml.safe_load(run("export", NAME, "-n", namespace).stdout) == example()
    assert run("import", str(EXAMPLE), "-n", namespace, "--replace").output.startswith(
        f"speculationprofile/{NAME} unchanged"
    )
    assert run("promote", NAME, "-n", namespace, "--as", namespace).exit_code == 0
    shared = json.loads(api_server.kubectl("get", "clusterspeculationprofile", namespace, "-o", "json"))
    assert shared["spec"] == example()["spec"]
    assert run("fit", f"cspecprof/{namespace}").exit_code == 0
    rows = run("list", "-n", namespace).stdout.splitlines()
    assert {row.split()[1] for row in rows[1:]} >= {NAME, namespace}
    assert run("watch", "-n", namespace).stderr == "No profiling Jobs found.\n"


def test_the_servers_own_refusals_are_one_line(
    run: Run, api_server: ApiServer, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No permission, a key that would change, a name that none can have."""
    assert run("import", str(EXAMPLE), "-n", namespace).exit_code == 0
    other = example()
    other["spec"]["identity"]["engineVersion"] = "0.99.0"
    other["spec"]["key"] = "3" * 16
    file = tmp_path / "other.yaml"
    from turbospec.wire.identity import ProfileIdentity

    other["spec"]["key"] = ProfileIdentity.model_validate(other["spec"]["identity"]).key()
    file.write_text(yaml.safe_dump(other))
    changed = run("import", str(file), "-n", namespace, "--replace")
    named = run("import", str(EXAMPLE), "-n", namespace, "--name", "A_B")
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig_for(f"nobody-{namespace}")))
    denied = run("list", "-n", namespace)
    for result, message in (
        (changed, "create another SpeculationProfile instead"),
        (named, "A_B"),
        (denied, "Ask the cluster's administrator for that permission"),
    ):
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
        assert message in result.stderr
