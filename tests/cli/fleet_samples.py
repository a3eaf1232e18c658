"""A fleet as the API server shows it, and the commands run against it: what golden tests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
EVENTS = "/api/v1/namespaces/team/events"
SYSTEM_EVENTS = "/api/v1/namespaces/turbospec-system/events"

Raw = dict[str, Any]


def condition(kind: str, status: str, reason: str, message: str = "") -> Raw:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 2}


SCHEDULE = [
    {"fromBatch": 1, "toBatch": 3, "draftTokens": 7},
    {"fromBatch": 4, "toBatch": 31, "draftTokens": 3},
    {"fromBatch": 32, "toBatch": 32, "draftTokens": 1},
    {"fromBatch": 33, "toBatch": 256, "draftTokens": 0},
]


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
        "profile": "profile-b67a1bd9d2de6ba5", "reason": "Controlled", "message": "", "decision": decision,
        "hardware": "NVIDIA H100 80GB HBM3 x1", "tokensPerSecond": 1180, "schedule": SCHEDULE, **fields,
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
        condition("Worthwhile", "True", "SavesReplicas", "deployment/chat: speculation saves 9% to 24%."),
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
ADVISED = policy(
    "chat", "other", "Advise", pods=2, controlled=0, advice="+7% to +20%",
    conditions=[
        condition("Advised", "True", "GainExpected", "llama: +7.0% to +20.0% tokens per second of running requests."),
        condition("Ready", "False", "Advising", "nothing is pushed; engines keep what they have."),
    ],
)  # fmt: skip


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


DEFINITIONS = {each.name: definition(each) for each in CUSTOM_RESOURCES}


@contextmanager
def cluster(folder: Path) -> Iterator[RecordedApi]:
    """A cluster in which all is well, but for what the policies say."""
    with recorded_api(folder) as server:
        server.answers |= {
            POLICIES: {"items": [CODE, CHAT]},
            ALL_POLICIES: {"items": [CODE, CHAT, ADVISED]},
            **{f"{POLICIES}/{each['metadata']['name']}": each for each in (CHAT, CODE, NEW)},
            CRDS: {"items": list(DEFINITIONS.values())},
            **{f"{CRDS}/{name}": raw for name, raw in DEFINITIONS.items()},
            DEPLOYMENTS: {"items": [deployment("operator", 2, 2), deployment("webhook", 2, 2)]},
            HOOKS: {"items": [hook()]},
            PODS: {"items": []},
            EVENTS: {"items": []},
            SYSTEM_EVENTS: {"items": []},
        }
        yield server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def golden(name: str, result: Result, code: int = 0) -> None:
    """The text is the golden one."""
    assert result.exit_code == code, result.output
    assert result.stdout == (GOLDEN / f"{name}.txt").read_text()
