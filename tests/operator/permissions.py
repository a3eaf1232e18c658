"""The permissions that the operator needs, and users that have them, or all but one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.apiserver import ApiServer

Rule = tuple[str, str, tuple[str, ...]]

RULES: tuple[Rule, ...] = (
    ("turbospec.io", "speculationpolicies", ("list", "watch")),
    ("turbospec.io", "speculationpolicies/status", ("patch",)),
    ("turbospec.io", "speculationprofiles/status", ("patch",)),
    ("turbospec.io", "speculationprofiles", ("get", "list", "watch", "create", "update")),
    ("", "pods", ("get", "list")),
    ("", "configmaps", ("create",)),
    ("batch", "jobs", ("list", "create")),
    ("", "resourcequotas", ("list",)),
    ("events.k8s.io", "events", ("create",)),
    ("autoscaling", "horizontalpodautoscalers", ("list",)),
    ("*", "*/scale", ("get",)),
    ("keda.sh", "scaledobjects", ("get",)),
    ("llmd.ai", "variantautoscalings", ("list",)),
    ("autoscaling.internal.knative.dev", "podautoscalers", ("list",)),
    ("coordination.k8s.io", "leases", ("get", "create", "update")),
    ("", "secrets", ("get", "create")),
)
"""(API group, resource, verbs): the last two in the operator's own namespace only."""

CLUSTER_WIDE: tuple[Rule, ...] = (
    ("apiextensions.k8s.io", "customresourcedefinitions", ("list", "watch")),
    ("", "nodes", ("list",)),
    ("turbospec.io", "clusterspeculationprofiles", ("list",)),
)
"""What an operator of all namespaces needs beside them: kopf to watch, and the profiles that administrators share;
finding a node for a Job."""


def without(verb: str, resource: str) -> tuple[Rule, ...]:
    """All rules but for one verb on one resource."""
    return tuple(
        (group, name, tuple(each for each in verbs if (each, name) != (verb, resource))) for group, name, verbs in RULES
    )


def user_in(api: ApiServer, namespace: str, rules: Iterable[Rule]) -> Path:
    """A kubeconfig of a user with these permissions in one namespace and none elsewhere."""
    user = f"user-of-{namespace}"
    role = {"kind": "Role", "metadata": {"name": "operator", "namespace": namespace}, "rules": _rules(rules)}
    binding = {"kind": "RoleBinding", "metadata": {"name": "operator", "namespace": namespace}}
    _grant(api, role, binding, user)
    return api.kubeconfig_for(user)


def grant(api: ApiServer, namespace: str, rules: Iterable[Rule]) -> None:
    """From now on ``user_in`` this namespace has these permissions."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": _rules(rules)}
    api.apply({**role, "metadata": {"name": "operator", "namespace": namespace}})


def cluster_user(api: ApiServer, name: str, rules: Iterable[Rule]) -> Path:
    """A kubeconfig of a user with these permissions everywhere."""
    role = {"kind": "ClusterRole", "metadata": {"name": name}, "rules": _rules(rules)}
    _grant(api, role, {"kind": "ClusterRoleBinding", "metadata": {"name": name}}, name)
    return api.kubeconfig_for(name)


def _rules(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        for group, resource, verbs in rules
        if verbs
    ]


def _grant(api: ApiServer, role: dict[str, Any], binding: dict[str, Any], user: str) -> None:
    group = "rbac.authorization.k8s.io"
    version = {"apiVersion": f"{group}/v1"}
    reference = {"apiGroup": group, "kind": role["kind"], "name": role["metadata"]["name"]}
    subject = {"apiGroup": group, "kind": "User", "name": user}
    namespace = role["metadata"].get("namespace")
    folder = f"/apis/{group}/v1/namespaces/{namespace}" if namespace else f"/apis/{group}/v1"
    for each in (role, {**binding, "roleRef": reference, "subjects": [subject]}):
        api.post(f"{folder}/{each['kind'].lower()}s", {**version, **each})
