"""Pods as KServe, the production stack, llm-d and plain manifests make them: injected once, else as they were."""

import json
import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ApiServer
from tests.webhook.conftest import Shell
from tests.webhook.test_injection import NONCE, RUNTIME, ZIP, environment, patched, policy
from turbospec_operator.injection import Outcome, inject
from turbospec_operator.names import ANNOTATION_SPECULATION

FOLDER = Path(__file__).with_name("workloads")
NGRAM = policy(method="ngram", promptLookupMin=1, promptLookupMax=4, draftTokens=[0, 5])
ENTRY_POINTS = {"vllm/vllm-openai:v0.32.0": ["vllm", "serve"]}

Raw = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A fixture and what must become of it; ``added`` is the speculation's annotation (None: the user's own stands)."""

    name: str
    container: str
    added: str | None = "added: ngram"
    python_path: str = ZIP
    largest_batch: int = 256
    restricted: bool = False

    def pod(self) -> Raw:
        """A fresh copy."""
        raw: Raw = yaml.safe_load((FOLDER / f"{self.name}.yaml").read_text())
        return raw


WORKLOADS = [
    Workload("kserve-inferenceservice", "kserve-container", restricted=True),
    Workload("kserve-llminferenceservice", "main", restricted=True),
    Workload("production-stack", "vllm", largest_batch=128),
    Workload("llm-d-decode", "vllm", added=None, python_path=f"/opt/nixl:$(EXTRA_PATH):{ZIP}"),
    Workload("plain-args", "server", largest_batch=32),
    Workload("plain-shell", "engine", python_path=f"/workspace/plugins:{ZIP}", restricted=True),
    Workload(
        "environment-only",
        "worker",
        added="not added: the container has neither command nor args to add --speculative-config to: "
        "write its args out",
    ),
    Workload("environment-speculates", "vllm", added=None),
]
EACH = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each.name)


def injected(workload: Workload) -> Raw:
    """The pod after the webhook, which must have injected it."""
    outcome = inject(workload.pod(), "team-a", NGRAM, RUNTIME, NONCE)
    assert outcome.injected, outcome.refusal
    return patched(workload.pod(), outcome)


def engine_of(pod: Raw, workload: Workload) -> Raw:
    """Its container."""
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] == workload.container]
    return dict(found)


def test_every_fixture_is_tried() -> None:
    """None lies around."""
    assert {path.stem for path in FOLDER.iterdir()} == {each.name for each in WORKLOADS} | {"kserve-data-parallel"}


@EACH
def test_the_engine_gets_the_runtime_and_all_else_stays(workload: Workload) -> None:
    """No container more (so no LimitRange is met anew), none of the others touched, nor anything of the pod's."""
    before, after = workload.pod(), injected(workload)
    engine = engine_of(after, workload)
    variables = environment(engine)
    assert variables["PYTHONPATH"] == workload.python_path
    assert after["metadata"]["annotations"]["turbospec.io/container"] == workload.container
    assert after["metadata"]["annotations"].get(ANNOTATION_SPECULATION) == workload.added
    assert after["spec"].get("initContainers") == before["spec"].get("initContainers")
    others = [each for each in before["spec"]["containers"] if each["name"] != workload.container]
    assert [each for each in after["spec"]["containers"] if each["name"] != workload.container] == others
    kept = set(before["spec"]) - {"containers", "volumes"}
    assert {key: after["spec"][key] for key in kept} == {key: before["spec"][key] for key in kept}
    mine = engine_of(before, workload)
    for field in set(mine) - {"args", "env", "volumeMounts"}:
        assert engine[field] == mine[field]
    theirs = [each for each in mine.get("env") or [] if each["name"] != "PYTHONPATH"]
    assert all(each in engine["env"] for each in theirs)


@EACH
def test_a_second_call_changes_nothing(workload: Workload) -> None:
    """Other webhooks (a mesh's, say) have us called again."""
    again = inject(injected(workload), "team-a", NGRAM, RUNTIME, "another")
    assert again == Outcome((), injected=True)


@EACH
def test_pods_start_without_the_runtime_where_its_config_map_is_missing(workload: Workload) -> None:
    """The mount is optional, and state goes to a volume that a user without privileges may write."""
    volumes = {volume["name"]: volume for volume in injected(workload)["spec"]["volumes"]}
    assert volumes["turbospec-runtime"]["configMap"]["optional"] is True
    assert "emptyDir" in volumes["turbospec-state"]


def test_python_starts_as_ever_where_the_zip_is_not_there() -> None:
    """What PYTHONPATH names and nobody has is skipped without a word."""
    code = "import importlib.metadata as m; print(len(list(m.entry_points(group='vllm.general_plugins', name='x'))))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=os.environ | {"PYTHONPATH": ZIP},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0", "")


def expanded(argument: str, variables: dict[str, str]) -> str:
    """$(NAME) as the kubelet replaces it in command and args."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), argument)


def calls(shell: Shell, container: Raw) -> list[list[str]]:
    """How vLLM is called when this container starts."""
    variables = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
    variables = {name: value for name, value in variables.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    command = container.get("command") or ENTRY_POINTS[container["image"]]
    argv = [expanded(argument, variables) for argument in [*command, *container.get("args", [])]]
    return shell([argv[0].rpartition("/opt/venv/bin/")[2], *argv[1:]], variables)


@pytest.mark.parametrize(
    "workload", [each for each in WORKLOADS if each.name != "environment-only"], ids=lambda each: each.name
)
def test_vllm_is_called_as_before_and_with_the_flag(shell: Shell, workload: Workload) -> None:
    """Under a real shell: the arguments of before, and --speculative-config with a table over the engine's batches."""
    (before,) = calls(shell, engine_of(workload.pod(), workload))
    (after,) = calls(shell, engine_of(injected(workload), workload))
    if workload.added is None:
        assert after == before
        assert sum("--speculative-config" in argument for argument in after) == 1
        return
    position = after.index("--speculative-config")
    assert after[:position] + after[position + 2 :] == before
    config = json.loads(after[position + 1])
    assert config["method"] == "ngram"
    assert config["num_speculative_tokens_per_batch_size"][-1][1] == workload.largest_batch


def test_a_command_that_is_evaluated_text_is_refused_in_words() -> None:
    """Nothing is guessed; named in the policy, the container gets the runtime and no flag."""
    raw = yaml.safe_load((FOLDER / "kserve-data-parallel.yaml").read_text())
    refused = inject(raw, "team-a", NGRAM, RUNTIME, NONCE)
    assert refused.refusal is not None
    assert "spec.engine.container" in refused.refusal
    named = inject(raw, "team-a", policy(container="main", method="ngram"), RUNTIME, NONCE)
    annotations = patched(raw, named)["metadata"]["annotations"]
    assert annotations[ANNOTATION_SPECULATION].startswith("not added: the command does not show")


def test_engines_on_one_nodes_network_get_ports_of_their_own() -> None:
    """By the pod's nonce, so that a second call and the operator, which reads the pod, agree."""
    (workload,) = [each for each in WORKLOADS if each.name == "plain-args"]
    ports = set()
    for number in range(8):
        pod = patched(workload.pod(), inject(workload.pod(), "team-a", NGRAM, RUNTIME, f"nonce {number}"))
        ports.add(int(environment(engine_of(pod, workload))["TURBOSPEC_CONTROL_PORT"]))
    assert len(ports) >= 6
    assert all(9476 <= port < 9876 for port in ports)


LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "limits"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "min": {"cpu": "50m", "memory": "32Mi"},
                "max": {"cpu": "8", "memory": "64Gi"},
                "default": {"cpu": "1", "memory": "1Gi"},
                "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
            }
        ]
    },
}


@pytest.fixture(scope="module")
def guarded(api_server: ApiServer) -> str:
    """A namespace with Pod Security `restricted` and a LimitRange."""
    name = f"guarded-{secrets.token_hex(4)}"
    api_server.create_namespace(name, {"pod-security.kubernetes.io/enforce": "restricted"})
    api_server.kubectl("create", "-n", name, "-f", "-", manifest=json.dumps(LIMITS))
    return name


@pytest.mark.apiserver
@pytest.mark.parametrize("workload", [each for each in WORKLOADS if each.restricted], ids=lambda each: each.name)
def test_what_was_admitted_before_is_admitted_after(api_server: ApiServer, guarded: str, workload: Workload) -> None:
    """By the API server's own Pod Security and LimitRange admission, to the letter of the schema."""
    for pod in (workload.pod(), injected(workload)):
        flags = ("--dry-run=server", "--validate=strict", "-n", guarded, "-f", "-")
        api_server.kubectl("create", *flags, manifest=json.dumps(pod))
