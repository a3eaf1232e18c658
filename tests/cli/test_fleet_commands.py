"""`status`, `explain`, `diagnose`, `pause` and `resume`: what people read, what programs read, and how they end.

Golden texts lie in tests/cli/golden; a change of them is a change of what users see.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.cli.recorded_api import RecordedApi, recorded_api
from turbospec.cli.main import main
from turbospec.wire.crd import CUSTOM_RESOURCES, crd_manifest

GOLDEN = Path(__file__).with_name("golden")
POLICIES = "/apis/turbospec.io/v1alpha1/namespaces/team/speculationpolicies"
ALL_POLICIES = "/apis/turbospec.io/v1alpha1/speculationpolicies"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENTS = "/apis/apps/v1/deployments"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
PODS = "/api/v1/namespaces/team/pods"

Raw = dict[str, Any]


def condition(kind: str, status: str, reason: str, message: str = "") -> Raw:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 2}


def engine(pod: str, k: int, **fields: Any) -> Raw:
    decision = {
        "draftTokens": k,
        "reason": "HighestGoodput",
        "bounding": "Goodput",
        "predictions": [
            {"draftTokens": 0, "tokensPerSecond": 812},
            {"draftTokens": 1, "tokensPerSecond": 1040},
            {"draftTokens": 3, "tokensPerSecond": 1297},
            {"draftTokens": 7, "tokensPerSecond": 990},
        ],
    }
    return {
        "pod": pod, "node": "node-1", "controlled": True, "draftTokens": k, "batch": 4, "acceptancePercent": 71,
        "profile": "profile-b67a1bd9d2de6ba5", "reason": "Controlled", "message": "", "decision": decision, **fields,
    }  # fmt: skip


def policy(name: str, namespace: str = "team", mode: str = "Enforce", **status: Any) -> Raw:
    return {
        "metadata": {"name": name, "namespace": namespace, "generation": 2},
        "spec": {"mode": mode, "selector": {"matchLabels": {"app": name}}},
        "status": status,
    }


CHAT = policy(
    "chat", pods=2, controlled=1, draftTokens="0-3", profile="profile-b67a1bd9d2de6ba5",
    conditions=[
        condition("Injected", "True", "Injected", "2/2 pods carry the runtime."),
        condition("Controlled", "False", "EngineUnreachable", "1/2 engines controlled. chat-2: cannot be reached."),
        condition("Ready", "False", "EngineUnreachable", "1/2 engines controlled. chat-2: cannot be reached."),
    ],
    engines=[
        engine("chat-1", 3),
        {"pod": "chat-2", "controlled": False, "reason": "EngineUnreachable", "message": "cannot be reached."},
    ],
)  # fmt: skip
CODE = policy(
    "code", pods=1, controlled=1, draftTokens="7", profile="profile-b67a1bd9d2de6ba5",
    conditions=[condition("Ready", "True", "AllEnginesControlled", "1/1 engines controlled.")],
    engines=[engine("code-1", 7, decision={"draftTokens": 7, "reason": "OnlyAllowed"})],
)  # fmt: skip
NEW = policy("new")


def deployment(component: str, ready: int, replicas: int = 1) -> Raw:
    labels = {"app.kubernetes.io/name": "turbospec", "app.kubernetes.io/component": component}
    return {
        "metadata": {"name": f"turbospec-{component}", "namespace": "turbospec-system", "labels": labels},
        "spec": {
            "replicas": replicas,
            "template": {"spec": {"serviceAccountName": f"turbospec-{component}", "containers": [{"env": []}]}},
        },
        "status": {"readyReplicas": ready},
    }


def hook(**fields: Any) -> Raw:
    webhook = {"clientConfig": {"caBundle": "eA=="}, "failurePolicy": "Ignore"} | fields
    return {"metadata": {"name": "turbospec-webhook"}, "webhooks": [webhook]}


def definition(resource: Any) -> Raw:
    raw = crd_manifest(resource)
    return {**raw, "status": {"conditions": [{"type": "Established", "status": "True"}]}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedApi]:
    """A cluster in which all is well, and which KUBECONFIG names."""
    with recorded_api(tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        server.answers |= {
            POLICIES: {"items": [CODE, CHAT]},
            ALL_POLICIES: {"items": [CODE, CHAT, policy("chat", "other", "Advise")]},
            **{f"{POLICIES}/{each['metadata']['name']}": each for each in (CHAT, CODE, NEW)},
            CRDS: {"items": []},
            **{f"{CRDS}/{each.name}": definition(each) for each in CUSTOM_RESOURCES},
            DEPLOYMENTS: {"items": [deployment("operator", 1), deployment("webhook", 2, 2)]},
            HOOKS: {"items": [hook()]},
            PODS: {"items": []},
        }
        yield server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def golden(name: str, result: Result, code: int = 0) -> None:
    """The text is the golden one."""
    assert result.exit_code == code, result.output
    assert result.stdout == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("status", ["status"]),
        ("status-all", ["status", "--all-namespaces"]),
        ("status-policy", ["status", "chat"]),
        ("explain-pod", ["explain", "chat-1"]),
        ("explain-policy", ["explain", "policy/chat"]),
        ("explain-pinned", ["explain", "code"]),
        ("diagnose-well", ["diagnose", "-n", "well"]),
    ],
)
def test_people_read_this(api: RecordedApi, name: str, arguments: list[str]) -> None:
    """Tables, reasons in words, and what to do."""
    well = {"metadata": CODE["metadata"] | {"namespace": "well"}, "spec": CODE["spec"], "status": CODE["status"]}
    api.answers[POLICIES.replace("team", "well")] = {"items": [well]}
    api.answers[PODS.replace("team", "well")] = {"items": []}
    golden(name, run(*arguments))


def test_programs_read_the_same(api: RecordedApi) -> None:
    """JSON and YAML are one document; nothing else on stdout."""
    for arguments in (["status", "chat"], ["explain", "chat-1"]):
        as_json = json.loads(run(*arguments, "-o", "json").stdout)
        assert yaml.safe_load(run(*arguments, "-o", "yaml").stdout) == as_json
    assert json.loads(run("explain", "chat-1", "-o", "json").stdout)["engines"][0]["predictions"][2] == {
        "draftTokens": 3,
        "tokensPerSecond": 1297,
    }
    api.answers[POLICIES] = {"items": []}
    assert json.loads(run("status", "-o", "json").stdout) == {"policies": []}
    assert "No SpeculationPolicy in namespace team" in run("status").stdout


def test_diagnose_names_everything_that_is_wrong(api: RecordedApi) -> None:
    """One finding each, with its remedy, and exit status 3."""
    del api.answers[f"{CRDS}/{CUSTOM_RESOURCES[1].name}"]
    older = copy.deepcopy(definition(CUSTOM_RESOURCES[0]))
    del older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["mode"]
    api.answers[f"{CRDS}/{CUSTOM_RESOURCES[0].name}"] = older
    api.answers[DEPLOYMENTS] = {"items": [deployment("operator", 0), deployment("webhook", 1, 2)]}
    api.answers[HOOKS] = {"items": [hook(clientConfig={}, failurePolicy="Fail")]}
    paused = policy("batch", mode="Paused", conditions=[condition("Ready", "False", "Paused", "nothing is pushed.")])
    api.answers[POLICIES] = {"items": [CHAT, NEW, paused]}
    api.denied_reviews = {"configmaps"}
    reason = {"turbospec.io/not-injected": "no container serves vLLM"}
    api.answers[PODS] = {
        "items": [
            {"metadata": {"name": "a", "namespace": "team", "annotations": {"turbospec.io/injected": "0"}}},
            {"metadata": {"name": "b", "namespace": "team"}},
            {"metadata": {"name": "c", "namespace": "team", "annotations": reason}},
        ]
    }
    golden("diagnose", run("diagnose"), code=3)
    findings = json.loads(run("diagnose", "-o", "json").stdout)["findings"]
    assert {each["severity"] for each in findings} == {"problem", "notice"}


def test_what_the_user_may_not_see_is_said_and_the_rest_is_looked_at(api: RecordedApi) -> None:
    """A tenant's user sees their namespace only."""
    api.forbidden = {f"{CRDS}/{CUSTOM_RESOURCES[0].name}", DEPLOYMENTS, HOOKS}
    api.answers[POLICIES] = {"items": [CODE]}
    result = run("diagnose")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("your permissions") == 3
    assert "0 problem(s), 3 notice(s)" in result.stdout


@pytest.mark.parametrize(("before", "after"), [("Enforce", "Enforce"), ("Advise", "Advise")])
def test_resume_gives_back_the_mode_of_before(api: RecordedApi, before: str, after: str) -> None:
    """Pause notes it on the policy."""
    path = f"{POLICIES}/chat"
    api.answers[path] = policy("chat", mode=before)
    assert "chat is paused" in run("pause", "chat").stdout
    ((_, _, patch),) = api.received
    assert patch["spec"] == {"mode": "Paused"}
    annotations = patch["metadata"]["annotations"]
    api.answers[path] = policy("chat", mode="Paused")
    api.answers[path]["metadata"]["annotations"] = annotations
    assert "paused already" in run("pause", "chat").stdout
    assert f"its mode is {after}" in run("resume", "chat").stdout
    assert api.received[1][2] == {"metadata": {"annotations": dict.fromkeys(annotations)}, "spec": {"mode": after}}
    api.answers[path] = policy("chat", mode=after)
    assert "is not paused" in run("resume", "chat").stdout
    assert len(api.received) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "nothing"], '"nothing" not found'),
        (["explain", "nothing"], "kubectl turbospec status -n team"),
        (["explain", "new"], "governs no engine: the operator has not looked at it yet"),
        (["explain", "node/n"], "write pod/n or policy/n"),
        (["status", "--context", "elsewhere"], "Set KUBECONFIG, --kubeconfig or --context"),
        (["status", "-n", "secret"], "ask the cluster's administrator"),
        (["status", "-n", "bare"], "resources are not installed"),
    ],
)
def test_errors_are_one_line_with_a_remedy(api: RecordedApi, arguments: list[str], said: str) -> None:
    """On stderr, exit status 1, no traceback."""
    api.forbidden = {POLICIES.replace("team", "secret")}
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_cluster_that_does_not_answer_is_one_line_too(tmp_path: Path) -> None:
    """A port that nobody listens on."""
    with recorded_api(tmp_path) as server:
        config = server.kubeconfig
    result = run("status", "--kubeconfig", str(config))
    assert result.exit_code == 1
    assert "the API server does not answer" in result.stderr
