"""Pods that start alike share a digest; what the breaker has stopped is not injected, and says why."""

import copy
from typing import Any

import pytest

from tests.webhook.test_injection import NGRAM, NONCE, RUNTIME, engine, injected, patched, pod, policy
from turbospec_operator.admission import Governing, governing_policy
from turbospec_operator.injection import Runtime, inject

TEMPLATE, REFUSED = "turbospec.io/template", "turbospec.io/not-injected"
TOKEN = {"name": "kube-api-access-x1", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}

Raw = dict[str, Any]


def digest(raw: Raw, spec: Any = NGRAM, runtime: Runtime = RUNTIME) -> str:
    """Of an injected pod."""
    outcome = inject(raw, "team-a", spec, runtime, NONCE)
    return str(patched(raw, outcome)["metadata"]["annotations"][TEMPLATE])


def test_pods_of_one_template_share_a_digest() -> None:
    """Whatever the API server makes different about them: names, tokens' mounts, nodes."""
    one, two = pod(engine(volumeMounts=[TOKEN])), pod(engine(volumeMounts=[TOKEN | {"name": "kube-api-access-x2"}]))
    two["metadata"]["name"] = "chat-2"
    two["spec"]["nodeName"] = "node-2"
    assert digest(one) == digest(two)


@pytest.mark.parametrize(
    "changed",
    [
        {"image": "newer"},
        {"args": ["--port", "8001"]},
        {"env": [{"name": "A", "value": "1"}]},
        {"resources": {"limits": {"memory": "2Gi"}}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_a_person_changes_is_tried_again(changed: Raw) -> None:
    """Another digest has no failures."""
    assert digest(pod(engine(**changed))) != digest(pod())


def test_another_policy_or_release_is_tried_again() -> None:
    """What is injected has changed, though the pod has not."""
    assert digest(pod(), policy(method="ngram", draftTokens=[0, 3])) != digest(pod())
    assert digest(pod(), runtime=Runtime(hash="ba9876543210", master_key=b"k" * 32)) != digest(pod())


def test_a_stopped_template_is_left_as_it_is_and_says_why() -> None:
    """Also when the webhook is called again after others changed the container."""
    stopped = {digest(pod()): "2 injected pods failed"}
    outcome = inject(pod(), "team-a", NGRAM, RUNTIME, NONCE, stopped=stopped)
    assert not outcome.injected
    left = patched(pod(), outcome)
    assert left["spec"] == pod()["spec"]
    assert left["metadata"]["annotations"][REFUSED] == (
        "injection is stopped for pods like this one: 2 injected pods failed"
    )
    meshed = copy.deepcopy(left)
    meshed["spec"]["containers"][0]["env"] = [{"name": "MESH", "value": "1"}]
    assert inject(meshed, "team-a", NGRAM, RUNTIME, NONCE, stopped=stopped).patch == ()
    assert inject(pod(engine(image="newer")), "team-a", NGRAM, RUNTIME, NONCE, stopped=stopped).injected


def test_a_pod_that_is_injected_already_stays_so() -> None:
    """Nothing is taken out of a pod halfway through its admission."""
    once = injected(pod())
    stopped = {once["metadata"]["annotations"][TEMPLATE]: "stopped"}
    again = inject(once, "team-a", NGRAM, RUNTIME, NONCE, stopped=stopped)
    assert (again.injected, again.patch) == (True, ())


@pytest.mark.parametrize(("annotation", "stops"), [(None, {"t1": "m1", "t2": "m2"}), ("t1, t3", {"t2": "m2"})])
def test_the_webhook_reads_what_is_stopped_from_the_governing_policy(annotation: str | None, stops: Raw) -> None:
    """Its status, without what a person wants injected all the same."""
    raw = {
        "metadata": {
            "name": "chat",
            "namespace": "team-a",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"turbospec.io/inject-anyway": annotation} if annotation else {},
        },
        "spec": {"selector": {"matchLabels": {"app": "chat"}}},
        "status": {"injectionStopped": [{"template": t, "message": m} for t, m in (("t1", "m1"), ("t2", "m2"))]},
    }
    found = governing_policy([raw], pod(), "team-a")
    assert found.spec is not None
    assert found.stopped == stops
    other = {"metadata": {"labels": {"app": "other"}}, "spec": {}}
    assert governing_policy([raw], other, "team-a") == Governing()
