"""`init`: a policy for a workload that runs, written by looking at it, that changes nothing unless asked."""

import copy
import json
from typing import Any

import pytest
import yaml

from tests.cli.fleet_samples import NEW, PODS, POLICIES, golden, run
from tests.cli.recorded_api import RecordedApi
from turbospec.wire.speculation_policy import SpeculationPolicySpec

Raw = dict[str, Any]

DEPLOYMENT = "/apis/apps/v1/namespaces/team/deployments/llama"
NAMESPACE = "/api/v1/namespaces/team"
EAGLE = '{"method": "eagle3", "model": "org/drafter", "num_speculative_tokens": 5}'


def llama(*arguments: str, **container: Any) -> Raw:
    labels = {"app": "llama", "tier": "serving"}
    engine = {"name": "vllm", "args": ["vllm", "serve", "org/llama", *arguments], **container}
    return {
        "metadata": {"name": "llama", "namespace": "team"},
        "spec": {
            "selector": {"matchLabels": {"app": "llama"}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [engine, {"name": "proxy"}]}},
        },
    }


def pod(name: str, *, injected: bool) -> Raw:
    annotations = {"turbospec.io/injected": "0.1"} if injected else {}
    return {"metadata": {"name": name, "namespace": "team", "annotations": annotations}, "status": {"phase": "Running"}}


@pytest.fixture
def fleet(fleet_api: RecordedApi) -> RecordedApi:
    """A Deployment without speculation, two pods of which one carries the runtime, a namespace that opted in."""
    ended = {"metadata": {"name": "c", "namespace": "team"}, "status": {"phase": "Failed"}}
    fleet_api.answers |= {
        DEPLOYMENT: llama(),
        PODS: {"items": [pod("a", injected=True), pod("b", injected=False), ended]},
        NAMESPACE: {"metadata": {"name": "team", "labels": {"turbospec.io/inject": "true"}}},
        POLICIES: {"items": [NEW]},
    }
    return fleet_api


def written(*arguments: str) -> Raw:
    """The manifest."""
    result = run("init", "deploy/llama", *arguments)
    assert result.exit_code == 0, result.output
    raw: Raw = yaml.safe_load(result.stdout)
    SpeculationPolicySpec.model_validate(raw["spec"])
    return raw


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("init", ["deployment/llama"]),
        ("init-objective", ["deploy/llama", "--name", "fast", "--mode", "Advise", "--tpot", "40", "--ttft", "1500"]),
        ("init-drafter", ["deploy/llama", "--method", "eagle3", "--drafter", "org/drafter"]),
        ("init-json", ["deploy/llama", "-o", "json"]),
    ],
)
def test_what_is_printed_can_be_applied_and_says_where_it_comes_from(name: str, arguments: list[str]) -> None:
    """Remarks are comments; as json they are on stderr."""
    golden(name, run("init", *arguments))


def test_a_workload_that_speculates_keeps_its_own(fleet: RecordedApi) -> None:
    """Its maximum bounds the ladder; the policy names no method."""
    fleet.answers[DEPLOYMENT] = llama("--speculative-config", EAGLE, "--port", "9000")
    fleet.answers[POLICIES] = {"items": []}
    golden("init-speculating", run("init", "deploy/llama"))


@pytest.mark.parametrize(
    ("most", "ladder"), [(1, [0, 1]), (3, [0, 1, 3]), (5, [0, 1, 3, 5]), (7, [0, 1, 3, 7]), (9, [0, 1, 3, 7, 9])]
)
def test_the_ladder_ends_at_the_pods_maximum(fleet: RecordedApi, most: int, ladder: list[int]) -> None:
    """K above it is never used; it is worth trying itself."""
    fleet.answers[DEPLOYMENT] = llama("--spec-method", "mtp", "--spec-tokens", str(most))
    assert written()["spec"]["speculation"] == {"draftTokens": ladder}


def test_nothing_is_changed_unless_asked(fleet: RecordedApi) -> None:
    """--apply creates what was printed."""
    written()
    assert fleet.received == []
    result = run("init", "deploy/llama", "--apply")
    assert "speculationpolicy/llama created in team" in result.stderr
    assert fleet.received == [("POST", POLICIES, yaml.safe_load(result.stdout))]


def test_what_cannot_be_seen_is_said(fleet: RecordedApi) -> None:
    """Pods, namespaces and policies may be hidden from who may read Deployments."""
    fleet.forbidden = {PODS, NAMESPACE, POLICIES}
    text = run("init", "deploy/llama").stdout
    assert text.count("Not looked at:") == 2
    assert "kubectl label namespace team turbospec.io/inject=true" in text


def test_a_policy_for_the_same_pods_is_named(fleet: RecordedApi) -> None:
    """Two would be in conflict."""
    other = copy.deepcopy(NEW)
    other["spec"]["selector"] = {"matchLabels": {"tier": "serving"}}
    fleet.answers[POLICIES] = {"items": [other]}
    assert "# Beware: policy new selects these pods already" in run("init", "deploy/llama").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["deployment/nothing"], 1, "not found"),
        (["inferenceservice/llama"], 1, "kubectl get deployments,statefulsets -n team"),
        (["llama"], 1, "write KIND/NAME"),
        (["deploy/llama", "--method", "eagle3"], 2, "those need it"),
        (["deploy/llama", "--drafter", "org/drafter"], 2, "--drafter goes with --method"),
        (["deploy/llama", "--method", "ngram", "--drafter", "m"], 2, "--drafter goes with --method"),
        (["deploy/llama", "--tpot", "0"], 2, "--tpot"),
        (["sts/llama"], 1, "no container serves vLLM"),
        (["ds/llama"], 1, "name one in spec.engine.container"),
        (["rs/llama"], 1, "its selector has no matchLabels"),
    ],
)
def test_what_cannot_be_written_is_refused_with_a_remedy(
    fleet: RecordedApi, arguments: list[str], code: int, said: str
) -> None:
    """One line, and nothing on stdout."""
    silent, double, unlabelled = llama(), llama(), llama()
    silent["spec"]["template"]["spec"]["containers"][0]["args"] = ["sleep", "1"]
    double["spec"]["template"]["spec"]["containers"][1]["args"] = ["vllm", "serve", "m"]
    unlabelled["spec"]["selector"] = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    fleet.answers |= {
        "/apis/apps/v1/namespaces/team/deployments": {"items": []},
        DEPLOYMENT.replace("deployments", "statefulsets"): silent,
        DEPLOYMENT.replace("deployments", "daemonsets"): double,
        DEPLOYMENT.replace("deployments", "replicasets"): unlabelled,
    }
    result = run("init", *arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stdout == ""


def test_what_no_policy_can_hold_is_said(fleet: RecordedApi) -> None:
    """By the field."""
    fleet.answers[DEPLOYMENT] = llama("--spec-method", "mtp", "--spec-tokens", "99")
    result = run("init", "deploy/llama")
    assert result.exit_code == 1
    assert "deployment/llama fits no policy: spec.speculation.draftTokens" in result.stderr


def test_a_method_is_refused_where_the_pods_name_their_own(fleet: RecordedApi) -> None:
    """What the user wrote is never overruled by the webhook either."""
    fleet.answers[DEPLOYMENT] = llama("--speculative-config", EAGLE)
    result = run("init", "deploy/llama", "--method", "ngram")
    assert result.exit_code == 1
    assert "leave --method out" in result.stderr


@pytest.mark.usefixtures("fleet")
def test_json_is_the_manifest_alone() -> None:
    """kubectl apply -f - takes it."""
    result = run("init", "deploy/llama", "-o", "json")
    assert json.loads(result.stdout) == written()
    assert "Found: container vllm" in result.stderr
