"""Which policy an admitted pod belongs to, and how the answer is spelled."""

import base64
import json
from typing import Any

import pytest

from turbospec_operator.admission import answer, governing_policy
from turbospec_operator.injection import Outcome
from turbospec_operator.settings import SettingsError
from turbospec_operator.webhook import WebhookSettings

Raw = dict[str, Any]


def policy(name: str, created: str, labels: Raw, **spec: Any) -> Raw:
    """A policy as the API server lists it."""
    meta = {"name": name, "namespace": "team-a", "uid": f"uid-{name}", "creationTimestamp": created}
    return {"metadata": meta, "spec": {"selector": {"matchLabels": labels}} | spec}


POD: Raw = {
    "metadata": {"generateName": "chat-", "labels": {"app": "chat", "tier": "gold"}},
    "spec": {"containers": []},
}
OLD, NEW = "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("policies", "method"),
    [
        ([], None),
        ([policy("a", OLD, {"app": "other"}, speculation={"method": "ngram"})], None),
        ([policy("a", OLD, {"app": "chat"}, speculation={"method": "ngram"})], "ngram"),
        ([policy("a", OLD, {"app": "chat", "tier": "silver"}, speculation={"method": "ngram"})], None),
        (
            [
                policy("a", NEW, {"app": "chat"}, speculation={"method": "mtp"}),
                policy("b", OLD, {"tier": "gold"}, speculation={"method": "ngram"}),
            ],
            "ngram",
        ),
        (
            [
                policy("a", OLD, {"app": "chat"}, mode="nonsense"),
                policy("b", NEW, {"app": "chat"}, speculation={"method": "mtp"}),
            ],
            "mtp",
        ),
    ],
    ids=["none", "other pods", "selected", "not all labels", "older wins", "unreadable governs nothing"],
)
def test_the_policy_is_the_one_that_will_govern_the_pod(policies: list[Raw], method: str | None) -> None:
    """Admission and fleet loop agree: all labels, the older policy, unreadable ones aside."""
    spec = governing_policy(policies, POD, "team-a").spec
    assert (spec.speculation.method if spec else None) == method


def test_answers_always_allow() -> None:
    """With a patch, without one, and with a refusal or a proposal, which becomes a warning that fits."""
    patch = ({"op": "add", "path": "/x", "value": 1},)
    assert answer("1", Outcome())["response"] == {"uid": "1", "allowed": True}
    injected = answer("2", Outcome(patch, injected=True))["response"]
    assert injected["allowed"]
    assert injected["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(injected["patch"])) == list(patch)
    refused = answer("3", Outcome(patch, refusal="r" * 500))["response"]
    assert refused["allowed"]
    assert len(refused["warnings"][0]) <= 256
    proposing = answer("4", Outcome(patch, injected=True, proposed="--x=1: why"))["response"]
    assert proposing["warnings"] == ["turbospec: proposed, not added: --x=1: why"]


def test_settings_come_from_the_environment() -> None:
    """Service and namespace make the names of our own certificate."""
    settings = WebhookSettings.from_environment({"TURBOSPEC_NAMESPACE": "ns", "TURBOSPEC_WEBHOOK_SERVICE": "hook"})
    assert settings.hosts == ("hook.ns.svc", "hook.ns.svc.cluster.local")
    assert settings.port == 8443
    assert settings.certificates is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("TURBOSPEC_WEBHOOK_PORT", "https"), ("TURBOSPEC_WEBHOOK_PORT", "65536"), ("TURBOSPEC_ENGINE_PORT", "0")],
)
def test_unusable_settings_are_named(name: str, value: str) -> None:
    """The message says which variable, what it holds and what it may hold."""
    with pytest.raises(SettingsError, match=rf"{name} is '{value}', must be a port"):
        WebhookSettings.from_environment({name: value})
