"""The commands with nothing but the rights that the chart gives to the users of a namespace."""

import json
import secrets
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.apiserver import ApiServer
from turbospec.cli.main import main
from turbospec.cli.options import Place
from turbospec.cli.web.looking import Looker

pytestmark = pytest.mark.apiserver

VIEW = ["get", "list", "watch"]
EDIT = [*VIEW, "create", "update", "patch", "delete", "deletecollection"]


def user(api: ApiServer, namespace: str, verbs: list[str]) -> Path:
    """A kubeconfig of a user with what an aggregated role grants in this namespace."""
    name = f"user-{namespace}-{len(verbs)}"
    rules = [{"apiGroups": ["turbospec.io"], "resources": ["speculationpolicies"], "verbs": verbs}]
    subject = {"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    role: dict[str, object] = {"kind": "Role", "rules": rules}
    binding: dict[str, object] = {
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [subject],
    }
    for each in (role, binding):
        each |= {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name, "namespace": namespace}}
    api.apply(role, binding)
    return api.kubeconfig_for(name)


def run_on(kubeconfig: Path, namespace: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*arguments, "-n", namespace, "--kubeconfig", str(kubeconfig)])
    return result.exit_code, result.output


@pytest.fixture
def namespace(api_with_kinds: ApiServer) -> str:
    """A fresh one, where our kinds are served."""
    name = f"cli-{secrets.token_hex(4)}"
    api_with_kinds.create_namespace(name)
    return name


def test_what_init_writes_is_accepted_and_everything_can_be_gathered(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """By the API server's own rules, and at the paths where it has these things; a user gets what they may see."""
    labels = {"app": "llama"}
    container = {"name": "vllm", "image": "vllm", "args": ["vllm", "serve", "org/llama", "--port", "9000"]}
    deployment: dict[str, object] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    api_server.apply(deployment)
    admin, viewer = api_server.kubeconfig, user(api_server, namespace, VIEW)
    code, said = run_on(admin, namespace, "init", "deployment/llama", "--tpot", "40", "--apply")
    assert code == 0, said
    port = ("get", "specpol", "llama", "-n", namespace, "-o", "jsonpath={.spec.engine.port}")
    assert api_server.kubectl(*port) == "9000"
    code, said = run_on(admin, namespace, "init", "deployment/llama", "--apply")
    assert (code, "it is there already" in said) == (1, True)
    for kubeconfig, missing in ((admin, False), (viewer, True)):
        code, said = run_on(kubeconfig, namespace, "must-gather", "-o", "json", "-f", str(tmp_path / f"{missing}"))
        assert code == 0, said
        assert bool(json.loads(said)["notRead"]) is missing, said
        assert "policies.json" in json.loads(said)["files"]


def test_a_user_of_the_namespace_sees_explains_and_pauses(api_server: ApiServer, namespace: str) -> None:
    """`view` for looking, `edit` for pausing; no Secret, no port-forward, nothing of other namespaces."""
    policy: dict[str, object] = {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}, "mode": "Advise"},
    }
    api_server.apply(policy)
    decision = {
        "draftTokens": 3,
        "reason": "HighestGoodput",
        "bounding": "Goodput",
        "predictions": [{"draftTokens": 0, "tokensPerSecond": 100}, {"draftTokens": 3, "tokensPerSecond": 150}],
    }
    schedule = [{"fromBatch": 1, "toBatch": 8, "draftTokens": 3}]
    engine = {"pod": "chat-1", "controlled": True, "reason": "Controlled", "draftTokens": 3, "decision": decision}
    engine |= {"hardware": "H100 x1", "tokensPerSecond": 140, "schedule": schedule}
    status = json.dumps({"status": {"engines": [engine], "pods": 1, "controlled": 1}})
    patch = ("patch", "specpol", "chat", "-n", namespace, "--subresource=status", "--type=merge", "-p", status)
    api_server.kubectl(*patch)
    viewer, editor = user(api_server, namespace, VIEW), user(api_server, namespace, EDIT)

    def run(kubeconfig: Path, *arguments: str) -> tuple[int, str]:
        return run_on(kubeconfig, namespace, *arguments)

    assert "chat     Advise   1" in run(viewer, "status")[1]
    assert "1.50x" in run(viewer, "explain", "chat-1")[1]
    assert "chat     chat-1   H100 x1    -       3   -            140        +50%" in run(viewer, "top")[1]
    assert "1-8     3" in run(viewer, "schedule", "chat")[1]
    place = Place(str(viewer), None, namespace)
    looked = Looker(place.api, place.kube, namespace).latest
    assert [(each["pod"], each["predictedTokensPerSecond"]) for each in looked.engines] == [("chat-1", 150)]
    assert [fault.split(":")[0] for fault in looked.profiles.faults] == [
        f"cannot list speculationprofiles.turbospec.io in namespace {namespace}",
        "cannot list clusterspeculationprofiles.turbospec.io",
    ]
    code, said = run(viewer, "pause", "chat")
    assert code == 1
    assert "ask the cluster's administrator" in said
    assert run(editor, "pause", "chat")[0] == 0
    mode = ("get", "specpol", "chat", "-n", namespace, "-o", "jsonpath={.spec.mode}")
    assert api_server.kubectl(*mode) == "Paused"
    assert run(editor, "resume", "chat")[0] == 0
    assert api_server.kubectl(*mode) == "Advise"
    code, said = run(viewer, "diagnose")
    assert code == 3, said
    assert "the operator has not looked at it" in said
