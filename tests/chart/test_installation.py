"""The chart in the hands of helm and a real API server: install, upgrade, uninstall."""

import datetime as dt
import json
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.chart.conftest import CHART, Render, one
from tests.support.apiserver import ApiServer
from turbospec_operator.certificates import new_generation, publish_bundle
from turbospec_operator.cluster import Cluster

pytestmark = pytest.mark.apiserver

BUNDLES = "jsonpath={.webhooks[*].clientConfig.caBundle}"


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """A fresh namespace that enforces the Pod Security Standard `restricted`."""
    name = f"install-{secrets.token_hex(4)}"
    api_server.create_namespace(name, {"pod-security.kubernetes.io/enforce": "restricted"})
    return name


@pytest.fixture
def installed(helm: Callable[..., str], api_server: ApiServer, namespace: str) -> Iterator[Callable[..., str]]:
    """Helm bound to this API server and namespace, with the chart installed; uninstalled at the end."""

    def bound(*arguments: str) -> str:
        return helm(f"--kubeconfig={api_server.kubeconfig}", f"--namespace={namespace}", *arguments)

    bound("upgrade", "--install", "turbospec", str(CHART), "--set", "image.tag=a")
    yield bound
    bound("uninstall", "--ignore-not-found", "turbospec")


VARIANTS: dict[str, dict[str, object]] = {
    "defaults": {},
    "one namespace": {"watchNamespace": "default"},
    "existing Secret": {
        "webhook": {
            "certificates": {
                "mode": "existingSecret",
                "existingSecret": {"name": "mine", "caBundle": "-----BEGIN CERTIFICATE-----"},
            }
        }
    },
    "all that is optional": {
        "networkPolicy": {"enabled": True},
        "dashboards": {"enabled": True},
        "imagePullSecrets": [{"name": "registry"}],
        "prometheus": {"url": "http://prometheus:9090"},
        "operator": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "podAnnotations": {}},
    },
}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_every_object_is_valid_to_the_letter(
    api_server: ApiServer, render: Render, namespace: str, values: dict[str, object]
) -> None:
    """Strict validation by the API server: no unknown field, none of the wrong form."""
    # The authority of the existing Secret is none: that one webhook configuration would be refused.
    objects = [each for each in render(namespace, **values) if "caBundle" not in json.dumps(each)]
    assert len(objects) > 10
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    flags = ("--dry-run=server", "--validate=strict", "--server-side", "--force-conflicts")
    api_server.kubectl("apply", *flags, "-f", "-", manifest=manifest)


async def test_an_upgrade_keeps_the_published_authority(
    installed: Callable[..., str], api_server: ApiServer, namespace: str
) -> None:
    """Between an upgrade and the webhook's next refresh the API server must still trust it."""
    _, authority = new_generation(("turbospec-webhook",), dt.datetime.now(dt.UTC))
    async with await Cluster.connect(api_server.kubeconfig) as cluster:
        assert await publish_bundle(cluster, "turbospec-webhook", authority)
    before = api_server.kubectl("get", "mutatingwebhookconfiguration", "turbospec-webhook", "-o", BUNDLES)
    installed("upgrade", "turbospec", str(CHART), "--set", "image.tag=b", "--set", "webhook.timeoutSeconds=2")
    after = json.loads(api_server.kubectl("get", "mutatingwebhookconfiguration", "turbospec-webhook", "-o", "json"))[
        "webhooks"
    ]
    assert [webhook["timeoutSeconds"] for webhook in after] == [2, 2]
    assert " ".join(webhook["clientConfig"].get("caBundle", "") for webhook in after) == before
    image = api_server.kubectl(
        "get", "deployment", "turbospec-operator", "-n", namespace, "-o", "jsonpath={..containers[*].image}"
    )
    assert image == "turbospec:b"


def test_notes_say_what_to_do_next(installed: Callable[..., str]) -> None:
    """The commands that a new user needs."""
    notes = installed("get", "notes", "turbospec")
    for text in (
        "turbospec.io/inject=true",
        "kind: SpeculationPolicy",
        "kubectl rollout restart",
        "kubectl get specul",
    ):
        assert text in notes


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("deployment", ["turbospec-operator", "turbospec-webhook"])
def test_pods_are_admitted_where_only_restricted_ones_are(
    api_server: ApiServer, render: Render, namespace: str, deployment: str
) -> None:
    """By the API server's own Pod Security admission."""
    template = one(render(namespace), "Deployment", deployment)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "probe", "namespace": namespace}}
    api_server.kubectl("create", "--dry-run=server", "-f", "-", manifest=json.dumps(pod))


def test_uninstalling_leaves_policies_and_definitions(
    installed: Callable[..., str], api_server: ApiServer, namespace: str
) -> None:
    """Nothing that a user wrote goes with the release, and no finalizer strands anything."""
    policy: dict[str, object] = {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}},
    }
    api_server.apply(policy)
    installed("uninstall", "turbospec")
    assert api_server.kubectl("get", "specpol", "chat", "-n", namespace, "-o", "name").strip().endswith("/chat")
    left = api_server.kubectl("get", "deploy,svc,sa,role,rolebinding", "-n", namespace, "-o", "name")
    assert "turbospec" not in left
    assert "turbospec" not in api_server.kubectl("get", "mutatingwebhookconfigurations", "-o", "name")
    api_server.kubectl("delete", "specpol", "chat", "-n", namespace, "--timeout=10s")
