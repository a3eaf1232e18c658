"""What the chart makes of its values."""

import base64
from collections.abc import Callable

import pytest
import yaml

import turbospec
from tests.chart.conftest import CHART, HelmError, Raw, Render, one, pod_of, variables_of
from turbospec_operator.certificates import SECRET
from turbospec_operator.settings import Settings
from turbospec_operator.webhook import WebhookSettings

DEPLOYMENTS = ("turbospec-operator", "turbospec-webhook")
CONFIGURATION = "turbospec-webhook"


def test_lint_finds_nothing(helm: Callable[..., str]) -> None:
    """Helm's own checks, warnings included."""
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_versions_agree() -> None:
    """The chart installs the image of this very version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == turbospec.__version__


def test_default_installation_is_complete(render: Render) -> None:
    """Operator, webhook, their identities and permissions, and nothing that needs another product."""
    kinds = {each["kind"] for each in render()}
    assert kinds == {
        "Deployment", "Service", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
        "MutatingWebhookConfiguration", "PodDisruptionBudget", "CustomResourceDefinition", "PriorityClass",
    }  # fmt: skip


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_pods_meet_the_restricted_standard(render: Render, deployment: str) -> None:
    """The rules of the Pod Security Standard `restricted`, and a read-only root file system."""
    pod = pod_of(render(), deployment)
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp"}  # noqa: S108 the pod's own
    assert all(set(volume) & {"emptyDir", "secret"} for volume in pod["volumes"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_selectors_match_their_pods_and_services(render: Render, deployment: str) -> None:
    """Deployment, Service and pod labels agree, and the two Deployments do not take each other's pods."""
    objects = render()
    labels = one(objects, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"]
    others = [
        one(objects, "Deployment", other)["spec"]["selector"]["matchLabels"]
        for other in DEPLOYMENTS
        if other != deployment
    ]
    for selector in (
        one(objects, "Deployment", deployment)["spec"]["selector"]["matchLabels"],
        one(objects, "Service", deployment)["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
    assert not any(other.items() <= labels.items() for other in others)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_probes_and_services_name_ports_that_exist(render: Render, deployment: str) -> None:
    """A probe at a port that nobody named would keep the pod from ever being ready."""
    objects = render()
    container = pod_of(objects, deployment)["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert {port["targetPort"] for port in one(objects, "Service", deployment)["spec"]["ports"]} <= ports


def test_the_operator_reads_every_setting_that_the_chart_gives(render: Render) -> None:
    """Names and formats are the program's own: what helm renders, Settings accepts and holds."""
    objects = render(
        watchNamespace="team-a",
        enginePort=9999,
        logLevel="DEBUG",
        prometheus={"url": "http://prometheus:9090"},
        operator={"intervalSeconds": 5},
    )
    variables = {
        name: value or "turbospec-system" for name, value in variables_of(objects, "turbospec-operator").items()
    }
    settings = Settings.from_environment(variables)
    assert settings.watch_namespace == "team-a"
    assert settings.engine_port == 9999
    assert settings.log_level == "DEBUG"
    assert settings.prometheus_url == "http://prometheus:9090"
    assert settings.interval_seconds == 5
    assert settings.metrics_port == pod_of(objects, "turbospec-operator")["containers"][0]["ports"][0]["containerPort"]


@pytest.mark.parametrize("mode", ["selfSigned", "certManager"])
def test_the_webhook_reads_every_setting_that_the_chart_gives(render: Render, mode: str) -> None:
    """Port, configuration and certificate names are those of the rendered objects."""
    objects = render(webhook={"certificates": {"mode": mode}})
    variables = {
        name: value or "turbospec-system" for name, value in variables_of(objects, "turbospec-webhook").items()
    }
    settings = WebhookSettings.from_environment(variables)
    configuration = one(objects, "MutatingWebhookConfiguration", settings.configuration)
    service = configuration["webhooks"][0]["clientConfig"]["service"]
    assert settings.hosts[0] == f"{service['name']}.{service['namespace']}.svc"
    container = pod_of(objects, "turbospec-webhook")["containers"][0]
    assert settings.port == container["ports"][0]["containerPort"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    if mode == "selfSigned":
        assert settings.certificates is None
        assert set(mounts) == {"/tmp"}  # noqa: S108 the pod's own
    else:
        certificate = one(objects, "Certificate", "turbospec-webhook")["spec"]
        assert mounts[str(settings.certificates)] == "tls"
        assert set(settings.hosts) == set(certificate["dnsNames"])
        assert certificate["secretName"] == SECRET
        assert configuration["metadata"]["annotations"] == {
            "cert-manager.io/inject-ca-from": "turbospec-system/turbospec-webhook"
        }


def test_an_existing_secret_is_mounted_and_its_authority_published(render: Render) -> None:
    """The name and the bundle are the user's; no permission on Secrets with certificates is left."""
    bundle = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
    secret = {"mode": "existingSecret", "existingSecret": {"name": "mine", "caBundle": bundle}}
    objects = render(webhook={"certificates": secret})
    volumes = {each["name"]: each for each in pod_of(objects, "turbospec-webhook")["volumes"]}
    assert volumes["tls"]["secret"]["secretName"] == "mine"
    for webhook in one(objects, "MutatingWebhookConfiguration", CONFIGURATION)["webhooks"]:
        assert base64.b64decode(webhook["clientConfig"]["caBundle"]).decode() == bundle
    names = [name for each in objects for rule in each.get("rules", []) for name in rule.get("resourceNames", [])]
    assert SECRET not in names
    assert CONFIGURATION not in names


def selected(webhook: Raw, namespace: Raw, pod: Raw) -> bool:
    """Whether the API server would send this pod, by the documented meaning of label selectors."""

    def matches(selector: Raw, labels: Raw) -> bool:
        if not selector.get("matchLabels", {}).items() <= labels.items():
            return False
        for expression in selector.get("matchExpressions", []):
            inside = labels.get(expression["key"]) in expression["values"]
            if inside != (expression["operator"] == "In"):
                return False
        return True

    return matches(webhook["namespaceSelector"], namespace) and matches(webhook["objectSelector"], pod)


@pytest.mark.parametrize(
    "case",
    [
        ("team-a", None, "true", 1),
        ("team-a", None, None, 0),
        ("team-a", "true", None, 1),
        ("team-a", "true", "true", 1),
        ("team-a", "true", "false", 0),
        ("team-a", None, "false", 0),
        ("kube-system", "true", "true", 0),
        ("turbospec-system", "true", "true", 0),
    ],
)
@pytest.mark.parametrize("watch", ["", "team-a", "team-b"])
def test_pods_opt_in_by_their_own_label_or_their_namespaces(
    render: Render, case: tuple[str, str | None, str | None, int], watch: str
) -> None:
    """Exactly one call for who asked, none for all others: namespace, its label, the pod's label, calls."""
    namespace, namespace_label, pod_label, calls = case

    def labels(value: str | None) -> Raw:
        return {"turbospec.io/inject": value} if value else {}

    named = {"kubernetes.io/metadata.name": namespace} | labels(namespace_label)
    name = f"{CONFIGURATION}-{watch}" if watch else CONFIGURATION
    webhooks = one(render(watchNamespace=watch), "MutatingWebhookConfiguration", name)["webhooks"]
    made = sum(selected(webhook, named, labels(pod_label)) for webhook in webhooks)
    assert made == (calls if watch in ("", namespace) else 0)


def test_the_webhook_can_never_hold_up_a_pod(render: Render) -> None:
    """Ignored when it fails or is slow; asked again when others changed the pod; no side effects of dry runs."""
    for webhook in one(render(), "MutatingWebhookConfiguration", CONFIGURATION)["webhooks"]:
        assert webhook["failurePolicy"] == "Ignore"
        assert webhook["timeoutSeconds"] == 3
        assert webhook["reinvocationPolicy"] == "IfNeeded"
        assert webhook["sideEffects"] == "NoneOnDryRun"
        assert webhook["rules"] == [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }
        ]


def test_one_namespace_needs_no_cluster_wide_permissions(render: Render) -> None:
    """Only our own webhook configuration is cluster-scoped (and the roles of users, which grant us nothing)."""
    objects = render(watchNamespace="team-a", rbac={"aggregate": False}, crds={"install": False})
    (priority,) = [each for each in objects if each["kind"] == "PriorityClass"]
    assert (priority["value"], priority["preemptionPolicy"], priority["globalDefault"]) == (-10, "Never", False)
    assert one(objects, "Role", "turbospec-profiling")["metadata"]["namespace"] == "team-a"
    cluster_roles = [each["metadata"]["name"] for each in objects if each["kind"] == "ClusterRole"]
    assert cluster_roles == ["turbospec-webhook-configuration-team-a"]
    assert one(objects, "Role", "turbospec-operator")["metadata"]["namespace"] == "team-a"
    assert "clusterspeculationprofiles" not in str(objects)
    binding = one(objects, "RoleBinding", "turbospec-operator")
    assert binding["metadata"]["namespace"] == "team-a"
    assert binding["subjects"][0]["namespace"] == "turbospec-system"


def test_without_the_webhook_nothing_of_it_is_left(render: Render) -> None:
    """webhook.enabled: false."""
    assert "webhook" not in str(render(webhook={"enabled": False}, crds={"install": False}))


@pytest.mark.parametrize("watch", ["", "team-a"])
def test_jobs_may_be_created_only_in_the_namespaces_that_are_named(render: Render, watch: str) -> None:
    """One RoleBinding each; no other permission creates Jobs, and the operator knows the class of their pods."""

    def bindings(objects: list[Raw]) -> list[str]:
        found = [each for each in objects if each["kind"] == "RoleBinding"]
        return [each["metadata"]["namespace"] for each in found if each["roleRef"]["name"] == "turbospec-profiling"]

    assert bindings(render(watchNamespace=watch)) == []
    named = [watch] if watch else ["team-a", "team-b"]
    objects = render(watchNamespace=watch, jobs={"namespaces": named})
    assert bindings(objects) == named
    creating = [
        each["metadata"]["name"]
        for each in objects
        for rule in each.get("rules", [])
        if "jobs" in rule["resources"] and "create" in rule["verbs"]
    ]
    assert creating == ["turbospec-profiling"]
    variables = variables_of(objects, "turbospec-operator")
    assert one(objects, "PriorityClass", str(variables["TURBOSPEC_PROFILING_PRIORITY_CLASS"]))


BAD_VALUES: dict[str, tuple[Raw, str]] = {
    "unknown value": ({"replicas": 2}, "replicas"),
    "unknown value inside": ({"webhook": {"replica": 2}}, "replica"),
    "no replicas": ({"webhook": {"replicas": 0}}, "replicas"),
    "no operator": ({"operator": {"replicas": 0}}, "replicas"),
    "port": ({"enginePort": 70000}, "enginePort"),
    "level": ({"logLevel": "loud"}, "logLevel"),
    "address": ({"prometheus": {"url": "prometheus:9090"}}, "prometheus"),
    "mode": ({"webhook": {"certificates": {"mode": "none"}}}, "mode"),
    "Secret without a name": ({"webhook": {"certificates": {"mode": "existingSecret"}}}, "existingSecret"),
    "longer than the API server waits": ({"webhook": {"timeoutSeconds": 60}}, "timeoutSeconds"),
    "no image": ({"image": {"repository": ""}}, "repository"),
    "namespace that is not governed": ({"watchNamespace": "a", "jobs": {"namespaces": ["b"]}}, "name no other"),
    "no namespace": ({"jobs": {"namespaces": ["Team A"]}}, "namespaces"),
    "interval": ({"operator": {"intervalSeconds": 0}}, "intervalSeconds"),
    "cluster objects": ({"clusterObjects": "None"}, "clusterObjects"),
    "scrape interval": ({"monitoring": {"serviceMonitor": {"interval": "soon"}}}, "interval"),
    "spread without pods": ({"webhook": {"topologySpreadConstraints": [{"maxSkew": 1}]}}, "labelSelector"),
}


@pytest.mark.parametrize(("values", "named"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values_are_refused_by_name(render: Render, values: Raw, named: str) -> None:
    """Before anything is installed."""
    with pytest.raises(HelmError, match=named):
        render(**values)


@pytest.mark.parametrize("part", ["operator", "webhook"])
def test_pods_go_where_the_values_send_them(render: Render, part: str) -> None:
    """Priority, nodes, tolerations, affinity, and spread, which replaces the chart's own."""
    spread = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
    placement: Raw = {
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": spread,
    }
    pod = pod_of(render(**{part: placement}), f"turbospec-{part}")
    assert placement.items() <= pod.items()


@pytest.mark.parametrize("part", ["operator", "webhook"])
def test_replicas_are_spread_and_never_all_evicted_at_once(render: Render, part: str) -> None:
    """By default; one replica has no budget, which would only hold up drains."""
    objects = render()
    deployment = one(objects, "Deployment", f"turbospec-{part}")
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (deployment["spec"]["replicas"], spread["topologyKey"]) == (2, "kubernetes.io/hostname")
    assert spread["labelSelector"] == deployment["spec"]["selector"]
    budget = one(objects, "PodDisruptionBudget", f"turbospec-{part}")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert budget["selector"] == deployment["spec"]["selector"]
    single = render(**{part: {"replicas": 1}})
    assert len([each for each in single if each["kind"] == "PodDisruptionBudget"]) == 1, "the other part's"


def test_an_update_of_the_operator_waits_for_no_room_and_keeps_one(render: Render) -> None:
    """Old and new need not fit beside each other, and a version that is unwell does not replace the second pod."""
    strategy = one(render(), "Deployment", "turbospec-operator")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
