"""`must-gather`: all that is needed to help from afar, nothing that is secret, and what is missing said."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.fleet_samples import CHAT, DEPLOYMENTS, EVENTS, PODS, POLICIES, SYSTEM_EVENTS, run
from tests.cli.recorded_api import RecordedApi
from turbospec.cli.fleet.redaction import REDACTED, redacted, redacted_text

Raw = dict[str, Any]

SYSTEM = "/api/v1/namespaces/turbospec-system"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/turbospec-system/leases"
SECRET = "hunter2hunter2"


def pod(name: str, namespace: str, *, restarts: int = 0) -> Raw:
    container = {
        "name": "main",
        "args": ["vllm", "serve", "m", "--api-key", SECRET, f"--hf-token={SECRET}", "--max-num-batched-tokens", "8192"],
        "env": [
            {"name": "DATABASE_URL", "value": f"postgres://u:{SECRET}@db/x"},
            {"name": "HF_TOKEN", "value": SECRET},
            {"name": "VLLM_API_KEY", "value": SECRET},
            {"name": "TURBOSPEC_TOKEN_SHA256", "value": SECRET},
            {"name": "VLLM_USE_V1", "value": "1"},
            {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    }
    annotations = {
        "turbospec.io/token-nonce": SECRET,
        "turbospec.io/injected": "0.1",
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"env": SECRET}),
    }
    return {
        "metadata": {
            "name": name, "namespace": namespace, "annotations": annotations, "managedFields": [{"x": SECRET}],
        },
        "spec": {"containers": [container]},
        "status": {"containerStatuses": [{"name": "main", "restartCount": restarts}]},
    }  # fmt: skip


@pytest.fixture
def fleet(fleet_api: RecordedApi) -> RecordedApi:
    """Everything is there and may be read."""
    team, batch = "/apis/turbospec.io/v1alpha1/namespaces/team", "/apis/batch/v1/namespaces/team/jobs"
    fleet_api.answers |= {
        "/version": {"gitVersion": "v1.36.0"},
        "/apis/turbospec.io/v1alpha1/clusterspeculationprofiles": {"items": []},
        "/api/v1/nodes": {"items": [{"metadata": {"name": "node-1", "labels": {"gpu": "h100"}}}]},
        POLICIES: {"items": [CHAT]},
        f"{SYSTEM}/pods": {"items": [pod("turbospec-operator-1", "turbospec-system", restarts=1)]},
        f"{SYSTEM}/pods/turbospec-operator-1/log": f"starts\nAuthorization: Bearer {SECRET}\nleads, epoch 3\n",
        LEASES: {"items": [{"metadata": {"name": "turbospec-operator"}, "spec": {"holderIdentity": "one"}}]},
        f"{team}/speculationprofiles": {"items": []},
        "/apis/autoscaling/v2/namespaces/team/horizontalpodautoscalers": {"items": []},
        batch: {"items": []},
        f"{PODS}?turbospec.io/profiling-key": {"items": []},
        f"{PODS}?app=chat": {"items": [pod("chat-1", "team")]},
    }  # fmt: skip
    return fleet_api


def unpacked(archive: Path) -> dict[str, str]:
    """The files of an archive, without the folder that they lie in."""
    with tarfile.open(archive) as opened:
        found = {}
        for member in opened.getmembers():
            content = opened.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read().decode()
        return found


def test_the_archive_holds_what_helps_and_nothing_secret(fleet: RecordedApi, tmp_path: Path) -> None:
    """Statuses, logs of our own pods also from before a restart, pods' state; no Secret is asked for, no user's log."""
    file = tmp_path / "all.tar.gz"
    result = run("must-gather", "--file", str(file))
    assert result.exit_code == 0, result.output
    found = unpacked(file)
    assert sorted(found) == (Path(__file__).with_name("golden") / "must-gather-files.txt").read_text().splitlines()
    whole = "\n".join(found.values())
    assert SECRET not in whole
    assert not any("secrets" in path or "configmaps" in path for path in fleet.asked)
    assert not any(path.startswith(f"{PODS}/") for path in fleet.asked), (
        "logs of serving pods may hold what users wrote"
    )
    (chat,) = json.loads(found["namespaces/team/pods-of-chat.json"])
    assert chat["spec"]["containers"][0]["args"][-2:] == ["--max-num-batched-tokens", "8192"]
    variables = {each["name"]: each.get("value") for each in chat["spec"]["containers"][0]["env"]}
    assert (variables["VLLM_USE_V1"], variables["HF_TOKEN"]) == ("1", REDACTED)
    assert "leads, epoch 3" in found["system/turbospec-system/logs/turbospec-operator-1.main.log"]
    assert json.loads(found["policies.json"])[0]["status"] == CHAT["status"]
    assert json.loads(found["index.json"])["notRead"] == []
    assert json.loads(found["cluster/nodes.json"])[0]["labels"] == {"gpu": "h100"}


def test_what_could_not_be_read_is_said_with_the_reason(fleet: RecordedApi, tmp_path: Path) -> None:
    """A tenant's user gets what they may see."""
    fleet.forbidden = {DEPLOYMENTS, SYSTEM_EVENTS, LEASES, f"{SYSTEM}/pods", "/api/v1/nodes", EVENTS}
    file = tmp_path / "some.tgz"
    result = run("must-gather", "-f", str(file), "-o", "json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert {each["what"] for each in said["notRead"]} == fleet.forbidden
    assert all("ask the cluster's administrator" in each["why"] for each in said["notRead"])
    assert json.loads(unpacked(file)["index.json"]) == {name: said[name] for name in said if name != "file"}
    assert "6 thing(s) could not be read:" in run("must-gather", "-f", str(tmp_path / "again")).stdout


@pytest.mark.usefixtures("fleet")
def test_a_folder_is_as_good_as_an_archive(tmp_path: Path) -> None:
    """And neither is written over."""
    run("must-gather", "-f", str(tmp_path / "a.tgz"))
    run("must-gather", "-f", str(tmp_path / "folder"))
    folder = {str(each.relative_to(tmp_path / "folder")) for each in (tmp_path / "folder").rglob("*") if each.is_file()}
    assert folder == set(unpacked(tmp_path / "a.tgz"))
    for there in ("a.tgz", "folder"):
        result = run("must-gather", "-f", str(tmp_path / there))
        assert (result.exit_code, "choose another --file" in result.stderr) == (1, True)


def test_a_cluster_that_does_not_answer_is_an_error(fleet: RecordedApi, tmp_path: Path) -> None:
    """Nothing is written."""
    fleet.forbidden = {"/version"}
    result = run("must-gather", "-f", str(tmp_path / "none.tgz"))
    assert result.exit_code == 1
    assert not (tmp_path / "none.tgz").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vllm serve m --api-key abc --port 1", f"vllm serve m --api-key {REDACTED} --port 1"),
        ("export HF_TOKEN=abc; run", f"export HF_TOKEN={REDACTED}; run"),
        ('{"password": "a b", "user": "u"}', f'{{"password": {REDACTED}, "user": "u"}}'),
        ("Authorization: Bearer abcdefghijk", f"Authorization: Bearer {REDACTED}"),
        ("loaded hf_abcdefghijklmnop", f"loaded {REDACTED}"),
        ("https://me:pw@host/x", f"https://{REDACTED}@host/x"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nend", f"{REDACTED}\nend"),
        ("max_num_batched_tokens=8192, num_tokens: 5, TOKENIZERS_PARALLELISM=false", None),
        ("secret token-1 not found; 3.5 tokens/s; authors: us", None),
    ],
)
def test_secrets_go_by_their_looks_and_names_and_figures_stay(text: str, expected: str | None) -> None:
    """What an engine does is told in tokens."""
    assert redacted_text(text) == (text if expected is None else expected)


WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=3, max_size=12)


@settings(max_examples=30)
@given(value=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=13, max_size=20), name=WORDS, flag=WORDS)
def test_no_value_of_an_unknown_variable_or_secret_flag_comes_through(value: str, name: str, flag: str) -> None:
    """Wherever in a pod they stand."""
    container = {
        "env": [{"name": f"MY_{name.upper()}", "value": value}, {"name": f"VLLM_{name}_token", "value": value}],
        "args": [f"--{flag}-token", value, f"--{flag}-password={value}", f"run --{flag}-secret {value}"],
        "command": ["sh", "-c", f"X_{name}_API_KEY='{value}' vllm serve m"],
    }
    assert value not in json.dumps(redacted({"spec": {"template": {"spec": {"initContainers": [container]}}}}))
