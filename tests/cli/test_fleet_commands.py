"""`status`, `explain`, `diagnose`, `pause` and `resume`: what people read, what programs read, and how they end.

Golden texts lie in tests/cli/golden; a change of them is a change of what users see.
"""

import copy
import json
from pathlib import Path

import pytest
import yaml

from tests.cli.fleet_samples import (
    CHAT,
    CODE,
    CRDS,
    DEPLOYMENTS,
    EVENTS,
    HOOKS,
    NEW,
    PODS,
    POLICIES,
    condition,
    definition,
    deployment,
    golden,
    hook,
    policy,
    run,
)
from tests.cli.recorded_api import RecordedApi, recorded_api
from turbospec.wire.crd import CUSTOM_RESOURCES


@pytest.mark.usefixtures("fleet_api")
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
def test_people_read_this(fleet_api: RecordedApi, name: str, arguments: list[str]) -> None:
    """Tables, reasons in words, and what to do."""
    well = {"metadata": CODE["metadata"] | {"namespace": "well"}, "spec": CODE["spec"], "status": CODE["status"]}
    fleet_api.answers[POLICIES.replace("team", "well")] = {"items": [well]}
    fleet_api.answers[PODS.replace("team", "well")] = {"items": []}
    fleet_api.answers[EVENTS.replace("team", "well")] = {"items": []}
    golden(name, run(*arguments))


def test_programs_read_the_same(fleet_api: RecordedApi) -> None:
    """JSON and YAML are one document; nothing else on stdout."""
    for arguments in (["status", "chat"], ["explain", "chat-1"]):
        as_json = json.loads(run(*arguments, "-o", "json").stdout)
        assert yaml.safe_load(run(*arguments, "-o", "yaml").stdout) == as_json
    assert json.loads(run("explain", "chat-1", "-o", "json").stdout)["engines"][0]["predictions"][2] == {
        "draftTokens": 3,
        "tokensPerSecond": 1297,
    }
    fleet_api.answers[POLICIES] = {"items": []}
    assert json.loads(run("status", "-o", "json").stdout) == {"policies": []}
    assert "No SpeculationPolicy in namespace team" in run("status").stdout


def test_diagnose_names_everything_that_is_wrong(fleet_api: RecordedApi) -> None:
    """One finding each, with its remedy, and exit status 3."""
    del fleet_api.answers[f"{CRDS}/{CUSTOM_RESOURCES[1].name}"]
    older = copy.deepcopy(definition(CUSTOM_RESOURCES[0]))
    del older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["mode"]
    fleet_api.answers[f"{CRDS}/{CUSTOM_RESOURCES[0].name}"] = older
    fleet_api.answers[DEPLOYMENTS] = {"items": [deployment("operator", 0), deployment("webhook", 1, 2)]}
    fleet_api.answers[HOOKS] = {"items": [hook(clientConfig={}, failurePolicy="Fail")]}
    paused = policy("batch", mode="Paused", conditions=[condition("Ready", "False", "Paused", "nothing is pushed.")])
    fleet_api.answers[POLICIES] = {"items": [CHAT, NEW, paused]}
    fleet_api.denied_reviews = {"configmaps"}
    reason = {"turbospec.io/not-injected": "no container serves vLLM"}
    fleet_api.answers[PODS] = {
        "items": [
            {"metadata": {"name": "a", "namespace": "team", "annotations": {"turbospec.io/injected": "0"}}},
            {"metadata": {"name": "b", "namespace": "team"}},
            {"metadata": {"name": "c", "namespace": "team", "annotations": reason}},
        ]
    }
    golden("diagnose", run("diagnose"), code=3)
    findings = json.loads(run("diagnose", "-o", "json").stdout)["findings"]
    assert {each["severity"] for each in findings} == {"problem", "notice"}


def test_what_the_user_may_not_see_is_said_and_the_rest_is_looked_at(fleet_api: RecordedApi) -> None:
    """A tenant's user sees their namespace only."""
    fleet_api.forbidden = {f"{CRDS}/{CUSTOM_RESOURCES[0].name}", DEPLOYMENTS, HOOKS}
    fleet_api.answers[POLICIES] = {"items": [CODE]}
    result = run("diagnose")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("your permissions") == 3
    assert "0 problem(s), 3 notice(s)" in result.stdout


@pytest.mark.parametrize(("before", "after"), [("Enforce", "Enforce"), ("Advise", "Advise")])
def test_resume_gives_back_the_mode_of_before(fleet_api: RecordedApi, before: str, after: str) -> None:
    """Pause notes it on the policy."""
    path = f"{POLICIES}/chat"
    fleet_api.answers[path] = policy("chat", mode=before)
    assert "chat is paused" in run("pause", "chat").stdout
    ((_, _, patch),) = fleet_api.received
    assert patch["spec"] == {"mode": "Paused"}
    annotations = patch["metadata"]["annotations"]
    fleet_api.answers[path] = policy("chat", mode="Paused")
    fleet_api.answers[path]["metadata"]["annotations"] = annotations
    assert "paused already" in run("pause", "chat").stdout
    assert f"its mode is {after}" in run("resume", "chat").stdout
    assert fleet_api.received[1][2] == {
        "metadata": {"annotations": dict.fromkeys(annotations)},
        "spec": {"mode": after},
    }
    fleet_api.answers[path] = policy("chat", mode=after)
    assert "is not paused" in run("resume", "chat").stdout
    assert len(fleet_api.received) == 2


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
def test_errors_are_one_line_with_a_remedy(fleet_api: RecordedApi, arguments: list[str], said: str) -> None:
    """On stderr, exit status 1, no traceback."""
    fleet_api.forbidden = {POLICIES.replace("team", "secret")}
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
