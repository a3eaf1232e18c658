"""CRDs as templates, roles for users, and an installation by those without cluster rights."""

import pytest
import yaml

from tests.chart.conftest import CHART, NAMESPACE, Raw, Render, one, variables_of
from tools.generate_crds import FOLDERS
from turbospec.wire.crd import CUSTOM_RESOURCES, crd_manifest

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "PriorityClass",
}


def definitions(objects: list[Raw]) -> dict[str, Raw]:
    """The rendered CustomResourceDefinitions by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == "CustomResourceDefinition"}


def test_the_chart_renders_the_definitions_of_crds(render: Render) -> None:
    """One source: helm and `kubectl apply -f crds/` install the same schemas."""
    by_hand = {
        raw["metadata"]["name"]: raw for raw in map(yaml.safe_load, (p.read_text() for p in FOLDERS[0].iterdir()))
    }
    rendered = definitions(render())
    assert set(rendered) == set(by_hand) == {resource.name for resource in CUSTOM_RESOURCES}
    for name, raw in by_hand.items():
        assert rendered[name]["spec"] == raw["spec"]
        assert raw["metadata"]["labels"].items() <= rendered[name]["metadata"]["labels"].items()


def test_helm_installs_no_definition_on_its_own() -> None:
    """A folder crds/ in the chart would be installed beside the templates, and never upgraded."""
    assert not (CHART / "crds").exists()


@pytest.mark.parametrize("keep", [True, False])
def test_definitions_stay_on_uninstall_unless_asked_otherwise(render: Render, keep: bool) -> None:
    """With them go all policies and profiles of the cluster."""
    found = definitions(render(crds={"keep": keep})).values()
    assert {(each["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") for each in found} == {
        "keep" if keep else None
    }


def test_definitions_may_be_left_to_others(render: Render) -> None:
    """crds.install: false."""
    assert definitions(render(crds={"install": False})) == {}


@pytest.mark.parametrize("watch", ["", "team-a"])
@pytest.mark.parametrize("mode", ["selfSigned", "certManager"])
def test_an_administrators_part_and_the_rest_make_the_whole(render: Render, watch: str, mode: str) -> None:
    """`Only` is exactly what is cluster-scoped, `Skip` exactly what is not."""
    values = {"watchNamespace": watch, "webhook": {"certificates": {"mode": mode}}, "networkPolicy": {"enabled": True}}
    whole, only, rest = (render(**values, clusterObjects=each) for each in ("Create", "Only", "Skip"))
    assert {each["kind"] for each in only} <= CLUSTER_SCOPED
    assert not {each["kind"] for each in rest} & CLUSTER_SCOPED
    assert len(rest) > 0
    assert sorted(map(str, only + rest)) == sorted(map(str, whole))
    if watch:
        assert {each["metadata"].get("namespace") for each in rest} == {NAMESPACE, "team-a"}


def test_releases_for_two_namespaces_share_no_cluster_scoped_name(render: Render) -> None:
    """But the CRDs, which are everybody's."""

    def names(watch: str) -> set[tuple[str, str]]:
        rendered = render(watchNamespace=watch, clusterObjects="Only", crds={"install": False})
        return {(each["kind"], each["metadata"]["name"]) for each in rendered}

    assert not names("team-a") & names("team-b")
    objects = render(watchNamespace="team-a")
    configuration = variables_of(objects, "turbospec-webhook")["TURBOSPEC_WEBHOOK_CONFIGURATION"]
    assert configuration is not None
    one(objects, "MutatingWebhookConfiguration", configuration)
    role = one(objects, "ClusterRole", "turbospec-webhook-configuration-team-a")
    assert role["rules"][0]["resourceNames"] == [configuration]


def test_users_get_our_kinds_through_the_clusters_own_roles(render: Render) -> None:
    """view reads, edit (and admin, which holds it) writes; the status is nobody's but the operator's."""
    roles = {
        label.rpartition("-")[2]: each["rules"]
        for each in render()
        if each["kind"] == "ClusterRole"
        for label in each["metadata"]["labels"]
        if "aggregate-to" in label
    }
    assert {role: set(rules[0]["verbs"]) for role, rules in roles.items()} == {
        "view": {"get", "list", "watch"},
        "edit": {"create", "update", "patch", "delete", "deletecollection"},
    }
    for (rule,) in roles.values():
        assert rule["apiGroups"] == ["turbospec.io"]
        namespaced = [each for each in CUSTOM_RESOURCES if crd_manifest(each)["spec"]["scope"] == "Namespaced"]
        assert set(rule["resources"]) == {resource.plural for resource in namespaced}
    assert "aggregate-to" not in str(render(rbac={"aggregate": False}))
