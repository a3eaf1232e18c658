"""The chart's permissions suffice for what the processes do, and for nothing more, judged by a real API server."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from e2e import audit
from tests.chart.conftest import Raw, Render
from tests.operator import test_each_permission
from tests.operator.operator_process import OperatorProcess
from tests.support.apiserver import ApiServer
from turbospec_operator.cluster import Cluster
from turbospec_operator.settings import Settings
from turbospec_operator.webhook import WebhookSettings, serving

pytestmark = pytest.mark.apiserver

WAIT_SECONDS = 60.0
IDENTITIES = {
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
}


@pytest.fixture(scope="module")
def installed(api_with_kinds: ApiServer, render: Render) -> Iterator[str]:
    """The namespace of a release, of which everything but the Deployments is applied."""
    api_server, namespace = api_with_kinds, f"chart-{secrets.token_hex(4)}"
    for name in (namespace, f"{namespace}-tenant"):
        api_server.create_namespace(name)
    values = {"jobs": {"namespaces": [f"{namespace}-tenant"]}}
    objects = [each for each in render(namespace, **values) if each["kind"] in IDENTITIES]
    api_server.apply(*objects)
    yield namespace
    # What is cluster-wide would reach into the tests that follow.
    for each in objects:
        if "namespace" not in each["metadata"]:
            api_server.kubectl("delete", each["kind"].lower(), each["metadata"]["name"])


OPERATOR, WEBHOOK = "turbospec-operator", "turbospec-webhook"
OWN, TENANT = "own", "tenant"
PERMISSIONS = [
    (OPERATOR, TENANT, "list", "speculationpolicies.turbospec.io", True),
    (OPERATOR, TENANT, "watch", "speculationpolicies.turbospec.io", True),
    (OPERATOR, TENANT, "list", "speculationprofiles.turbospec.io", True),
    (OPERATOR, TENANT, "watch", "speculationprofiles.turbospec.io", True),
    (OPERATOR, None, "list", "customresourcedefinitions.apiextensions.k8s.io", True),
    (OPERATOR, None, "watch", "customresourcedefinitions.apiextensions.k8s.io", True),
    (OPERATOR, TENANT, "patch", "speculationpolicies.turbospec.io/status", True),
    (OPERATOR, TENANT, "get", "speculationprofiles.turbospec.io", True),
    (OPERATOR, TENANT, "create", "speculationprofiles.turbospec.io", True),
    (OPERATOR, TENANT, "update", "speculationprofiles.turbospec.io", True),
    (OPERATOR, TENANT, "patch", "speculationprofiles.turbospec.io/status", True),
    (OPERATOR, TENANT, "delete", "speculationprofiles.turbospec.io", False),
    (OPERATOR, None, "list", "clusterspeculationprofiles.turbospec.io", True),
    (OPERATOR, None, "create", "clusterspeculationprofiles.turbospec.io", False),
    (OPERATOR, TENANT, "get", "pods", True),
    (OPERATOR, TENANT, "list", "pods", True),
    (OPERATOR, TENANT, "list", "jobs.batch", True),
    (OPERATOR, TENANT, "create", "jobs.batch", True),
    (OPERATOR, TENANT, "list", "resourcequotas", True),
    (OPERATOR, OWN, "create", "jobs.batch", False),
    (OPERATOR, OWN, "list", "resourcequotas", False),
    (OPERATOR, None, "list", "nodes", True),
    (OPERATOR, None, "patch", "nodes", False),
    (OPERATOR, TENANT, "list", "horizontalpodautoscalers.autoscaling", True),
    (OPERATOR, TENANT, "patch", "horizontalpodautoscalers.autoscaling", False),
    (OPERATOR, TENANT, "get", "*.*/scale", True),
    (OPERATOR, TENANT, "update", "deployments.apps/scale", False),
    (OPERATOR, TENANT, "get", "scaledobjects.keda.sh", True),
    (OPERATOR, TENANT, "list", "variantautoscalings.llmd.ai", True),
    (OPERATOR, TENANT, "list", "podautoscalers.autoscaling.internal.knative.dev", True),
    (OPERATOR, TENANT, "create", "configmaps", True),
    (OPERATOR, TENANT, "create", "events.events.k8s.io", True),
    (OPERATOR, TENANT, "list", "horizontalpodautoscalers.autoscaling", True),
    (OPERATOR, TENANT, "get", "scaledobjects.keda.sh", True),
    (OPERATOR, TENANT, "patch", "horizontalpodautoscalers.autoscaling", False),
    (OPERATOR, TENANT, "get", "deployments.apps", False),
    (OPERATOR, OWN, "create", "leases.coordination.k8s.io", True),
    (OPERATOR, OWN, "get", "leases.coordination.k8s.io/turbospec-operator", True),
    (OPERATOR, OWN, "get", "leases.coordination.k8s.io/another", False),
    (OPERATOR, OWN, "update", "leases.coordination.k8s.io/turbospec-operator", True),
    (OPERATOR, OWN, "get", "secrets/turbospec-master-key", True),
    (OPERATOR, OWN, "create", "secrets", True),
    (OPERATOR, OWN, "get", "secrets/turbospec-webhook-tls", False),
    (OPERATOR, OWN, "list", "secrets", False),
    (OPERATOR, TENANT, "get", "secrets/turbospec-master-key", False),
    (OPERATOR, TENANT, "create", "secrets", False),
    (OPERATOR, TENANT, "get", "configmaps", False),
    (OPERATOR, TENANT, "create", "pods", False),
    (OPERATOR, TENANT, "patch", "pods", False),
    (OPERATOR, TENANT, "delete", "pods", False),
    (OPERATOR, TENANT, "patch", "deployments.apps", False),
    (OPERATOR, TENANT, "patch", "speculationpolicies.turbospec.io", False),
    (WEBHOOK, TENANT, "list", "speculationpolicies.turbospec.io", True),
    (WEBHOOK, TENANT, "create", "configmaps", True),
    (WEBHOOK, OWN, "list", "speculationpolicies.turbospec.io", True),
    (WEBHOOK, OWN, "create", "secrets", True),
    (WEBHOOK, OWN, "get", "secrets/turbospec-webhook-tls", True),
    (WEBHOOK, OWN, "update", "secrets/turbospec-webhook-tls", True),
    (WEBHOOK, OWN, "get", "secrets/turbospec-master-key", True),
    (WEBHOOK, OWN, "update", "secrets/turbospec-master-key", False),
    (WEBHOOK, TENANT, "get", "secrets", False),
    (WEBHOOK, TENANT, "get", "configmaps", False),
    (WEBHOOK, TENANT, "list", "pods", False),
    (WEBHOOK, None, "get", "mutatingwebhookconfigurations.admissionregistration.k8s.io/turbospec-webhook", True),
    (WEBHOOK, None, "update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/turbospec-webhook", True),
    (WEBHOOK, None, "update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/another", False),
]


def test_no_permission_is_granted_that_is_not_in_this_list(render: Render) -> None:
    """So that none creeps in, and taking one away fails the test below."""
    granted = {
        (_account(each["metadata"]["name"]), verb, name)
        for each in render()
        if each["kind"] in ("Role", "ClusterRole") and "aggregate-to" not in str(each["metadata"]["labels"])
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in _spelt(resource, rule)
    }
    listed = {(account, verb, resource) for account, _, verb, resource, allowed in PERMISSIONS if allowed}
    assert granted - listed == set()


def test_each_permission_has_a_case_that_fails_without_it(render: Render) -> None:
    """Neither a permission without a case nor a case without a permission."""
    assert audit.granted(render(jobs={"namespaces": ["team"]})) == test_each_permission.ALL
    assert set(audit.UNUSED_IN_E2E) <= test_each_permission.ALL


def _account(role: str) -> str:
    """The service account that gets the role."""
    if role == "turbospec-profiling":
        return OPERATOR
    return next((role.removesuffix(end) for end in ("-own", "-configuration", "-scaling") if role.endswith(end)), role)


def _spelt(resource: str, rule: Raw) -> list[str]:
    plural, _, subresource = resource.partition("/")
    whole = ".".join(part for part in (plural, rule["apiGroups"][0]) if part)
    suffixes = [subresource] if subresource else rule.get("resourceNames", [""])
    return [f"{whole}/{suffix}" if suffix else whole for suffix in suffixes]


@pytest.mark.parametrize("permission", PERMISSIONS, ids=lambda permission: " ".join(map(str, permission)))
def test_permissions_are_these(
    api_server: ApiServer, installed: str, permission: tuple[str, str | None, str, str, bool]
) -> None:
    """As the API server answers a SubjectAccessReview."""
    account, where, verb, resource, allowed = permission
    resource, _, last = resource.partition("/")
    subresource, name = (last, "") if last in ("status", "scale") else ("", last)
    plural, _, group = resource.partition(".")
    attributes = {"verb": verb, "resource": plural, "group": group, "subresource": subresource, "name": name}
    if where:
        attributes["namespace"] = installed if where == OWN else f"{installed}-tenant"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{installed}:{account}", "resourceAttributes": attributes},
    }
    answer = api_server.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is allowed


def test_the_operator_is_ready_with_them_and_misses_none(api_server: ApiServer, installed: str, tmp_path: Path) -> None:
    """The real process, with the chart's service account: /readyz answers, and its log names no missing permission."""
    tenant = f"{installed}-tenant"
    policy: Raw = {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": "chat", "namespace": tenant},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}},
    }
    api_server.apply(policy)
    environment = {
        "KUBECONFIG": str(api_server.service_account_kubeconfig(installed, OPERATOR)),
        "PATH": "/usr/bin:/bin",
        "USER": "turbospec",
        "TURBOSPEC_NAMESPACE": installed,
        "TURBOSPEC_INTERVAL_SECONDS": "0.5",
        "TURBOSPEC_METRICS_HOST": "127.0.0.1",
    }
    process = OperatorProcess(environment, tmp_path / "operator.log")
    process.start()
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (process.get("/readyz")[0] == 200 and _has_status(api_server, tenant)):
            assert time.monotonic() < deadline, process.log()
            time.sleep(0.2)
    finally:
        process.kill()
    log = process.log().lower()
    assert "forbidden" not in log
    assert "permission" not in log
    with api_server.audit_log.open() as written:
        asked = [each for each in audit.requests(written) if each.account == OPERATOR]
    assert audit.refused(asked) == []
    rounds = {
        ("list", "pods"),
        ("patch", "speculationpolicies.turbospec.io/status"),
        ("create", "leases.coordination.k8s.io"),
    }
    watches = {("watch", "speculationpolicies.turbospec.io"), ("watch", "speculationprofiles.turbospec.io")}
    assert rounds | watches <= {(each.verb, each.resource) for each in asked}


def _has_status(api_server: ApiServer, namespace: str) -> bool:
    path = "jsonpath={.status.conditions[*].type}"
    return "Ready" in api_server.kubectl("get", "specpol", "chat", "-n", namespace, "-o", path)


async def test_the_webhook_is_ready_with_them_and_can_inject(api_server: ApiServer, installed: str) -> None:
    """Certificate made and published, master key made, policies read, runtime put into the tenant's namespace."""
    tenant = f"{installed}-tenant"
    settings = WebhookSettings(
        shared=Settings.from_environment({"TURBOSPEC_NAMESPACE": installed}),
        host="127.0.0.1",
        port=0,
        certificates=None,
        configuration="turbospec-webhook",
        hosts=("localhost",),
    )
    pod = {
        "metadata": {"labels": {"turbospec.io/inject": "true"}},
        "spec": {"containers": [{"name": "v", "command": ["vllm", "serve"]}]},
    }
    request = {"uid": "1", "kind": {"kind": "Pod"}, "operation": "CREATE", "namespace": tenant, "object": pod}
    kubeconfig = api_server.service_account_kubeconfig(installed, WEBHOOK)
    async with await Cluster.connect(kubeconfig) as cluster, serving(cluster, settings) as (webhook, port):
        deadline = time.monotonic() + WAIT_SECONDS
        while webhook.not_ready:
            assert time.monotonic() < deadline, webhook.not_ready
            await asyncio.sleep(0.1)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
            session.post(f"https://127.0.0.1:{port}/mutate", json={"request": request}) as answer,
        ):
            assert "patch" in (await answer.json())["response"]
    maps = api_server.kubectl("get", "configmaps", "-n", tenant, "-o", "name")
    assert "turbospec-runtime-" in maps
    bundles = api_server.kubectl(
        "get",
        "mutatingwebhookconfiguration",
        "turbospec-webhook",
        "-o",
        "jsonpath={.webhooks[*].clientConfig.caBundle}",
    )
    assert len(bundles.split()) == 2
