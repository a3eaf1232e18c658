"""The API-server fixture is a real API server: it validates, authenticates and authorises."""

import time

import pytest

from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.apiserver

WIDGET_CRD: dict[str, object] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.support.turbospec.test"},
    "spec": {
        "group": "support.turbospec.test",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
                                "x-kubernetes-validations": [
                                    {"rule": "self.low <= self.high", "message": "low must not exceed high"}
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def widget(name: str, low: int, high: int) -> dict[str, object]:
    return {
        "apiVersion": "support.turbospec.test/v1",
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"low": low, "high": high},
    }


@pytest.fixture(scope="module")
def widgets(api_server: ApiServer) -> ApiServer:
    api_server.apply(WIDGET_CRD)
    api_server.kubectl("wait", "--for=condition=Established", "crd/widgets.support.turbospec.test", "--timeout=30s")
    deadline = time.monotonic() + 30
    while "widgets" not in api_server.kubectl("api-resources", "--api-group=support.turbospec.test"):
        assert time.monotonic() < deadline, "the new kind was never served"
    return api_server


def test_validation_rules_of_a_custom_resource_are_enforced(widgets: ApiServer) -> None:
    """A CEL rule refuses what breaks it, with its own message, and lets the rest pass."""
    widgets.apply(widget("good", 1, 2))
    with pytest.raises(RuntimeError, match="low must not exceed high"):
        widgets.apply(widget("bad", 3, 2))


def test_a_user_may_do_only_what_is_granted(widgets: ApiServer) -> None:
    """A fresh client certificate may do nothing; a role binding opens just the verb it names."""
    alice = widgets.kubeconfig_for("alice")
    with pytest.raises(RuntimeError, match="forbidden"):
        widgets.kubectl("get", "widgets", as_kubeconfig=alice)
    widgets.kubectl("create", "role", "reader", "--verb=list,get", "--resource=widgets.support.turbospec.test")
    widgets.kubectl("create", "rolebinding", "alice-reads", "--role=reader", "--user=alice")
    widgets.kubectl("get", "widgets", as_kubeconfig=alice)
    with pytest.raises(RuntimeError, match="forbidden"):
        widgets.kubectl("delete", "widgets", "--all", as_kubeconfig=alice)


def test_service_account_tokens_authenticate(api_server: ApiServer) -> None:
    """A token issued for a service account is that account's identity to the server."""
    api_server.kubectl("create", "serviceaccount", "robot")
    config = api_server.service_account_kubeconfig("default", "robot")
    assert "system:serviceaccount:default:robot" in api_server.kubectl("auth", "whoami", as_kubeconfig=config)


def test_pods_can_be_created_without_controllers(api_server: ApiServer) -> None:
    """A pod is accepted as it is, and a test may write its status in the kubelet's place."""
    pod: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "engine", "namespace": "default"},
        "spec": {"containers": [{"name": "vllm", "image": "example.invalid/vllm"}]},
    }
    api_server.apply(pod)
    api_server.kubectl(
        "patch", "pod", "engine", "--subresource=status", "--type=merge", "-p", '{"status": {"podIP": "127.0.0.1"}}'
    )
    assert api_server.kubectl("get", "pod", "engine", "-o", "jsonpath={.status.podIP}") == "127.0.0.1"
