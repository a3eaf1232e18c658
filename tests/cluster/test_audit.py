"""What an audit log says of permissions: nothing forbidden, nothing granted in vain."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import audit
from e2e.audit import Permission
from e2e.cluster import config
from e2e.cluster.paths import ClusterPaths
from e2e.demo.kube import SYSTEM_NAMESPACE

OPERATOR = "turbospec-operator"


def event(verb: str, resource: str, *, group: str = "", code: int = 200, user: str = OPERATOR, **about: str) -> str:
    """A line as kube-apiserver 1.34 writes it at level Metadata."""
    return json.dumps(
        {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "stage": "ResponseComplete",
            "verb": verb,
            "user": {"username": f"system:serviceaccount:{SYSTEM_NAMESPACE}:{user}"},
            "objectRef": {"resource": resource, "apiVersion": "v1", **({"apiGroup": group} if group else {}), **about},
            "responseStatus": {"code": code},
        }
    )


LOG = [
    event("list", "pods"),
    event("get", "leases", group="coordination.k8s.io", name="turbospec-operator"),
    event("patch", "speculationpolicies", group="turbospec.io", subresource="status", name="chat"),
    event("get", "deployments", group="apps", subresource="scale", name="chat"),
    event("create", "jobs", group="batch", code=409),
    event("list", "secrets", code=403),
    event("get", "secrets", name="turbospec-webhook-tls", user="turbospec-webhook"),
    json.dumps({"kind": "Event", "verb": "get", "user": {"username": f"{audit.ACCOUNT_PREFIX}a:b"}}),
    json.dumps({"kind": "Event", "verb": "list", "user": {"username": "system:admin"}, "objectRef": {"resource": "x"}}),
]


@pytest.mark.parametrize(
    ("permission", "used"),
    [
        (Permission(OPERATOR, "list", "pods"), True),
        (Permission("turbospec-webhook", "list", "pods"), False),
        (Permission(OPERATOR, "watch", "pods"), False),
        (Permission(OPERATOR, "get", "leases.coordination.k8s.io", "turbospec-operator"), True),
        (Permission(OPERATOR, "get", "leases.coordination.k8s.io", "another"), False),
        (Permission(OPERATOR, "patch", "speculationpolicies.turbospec.io/status"), True),
        (Permission(OPERATOR, "patch", "speculationpolicies.turbospec.io"), False),
        (Permission(OPERATOR, "get", "*.*/scale"), True),
        (Permission(OPERATOR, "create", "jobs.batch"), True),
        (Permission(OPERATOR, "list", "secrets"), False),
        (Permission("turbospec-webhook", "get", "secrets", "turbospec-webhook-tls"), True),
    ],
)
def test_a_permission_is_used_by_just_what_it_is_for(permission: Permission, used: bool) -> None:
    """A request that was forbidden used none; one that came too late did."""
    assert (audit.unused([permission], audit.requests(LOG)) == set()) is used


def test_what_was_forbidden_is_named_once() -> None:
    """With account, verb and resource; others' requests are nobody's business here."""
    assert audit.refused(audit.requests([*LOG, *LOG])) == [f"403 {OPERATOR} list secrets /"]


def test_what_is_no_audit_log_is_not_taken_for_an_empty_one() -> None:
    """Unknown is never guessed."""
    with pytest.raises(ValueError, match="not an event"):
        list(audit.requests(['{"kind": "Status"}']))


def test_grants_are_read_from_roles_and_their_bindings() -> None:
    """A Role of another namespace is another role; one that nobody is bound to grants nothing."""

    def role(kind: str, name: str, rule: dict[str, Any], **metadata: str) -> dict[str, Any]:
        return {"kind": kind, "metadata": {"name": name, **metadata}, "rules": [rule]}

    def binding(kind: str, of: str, name: str, **metadata: str) -> dict[str, Any]:
        subject = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": SYSTEM_NAMESPACE}
        reference = {"kind": of, "name": name}
        return {"kind": kind, "metadata": {"name": name, **metadata}, "roleRef": reference, "subjects": [subject]}

    def rule(group: str, resource: str, *verbs: str, **fields: Any) -> dict[str, Any]:
        return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **fields}

    objects = [
        role("ClusterRole", "everywhere", rule("", "pods", "get", "list")),
        role("Role", "own", rule("", "secrets", "get", resourceNames=["a", "b"]), namespace="here"),
        role("Role", "own", rule("", "configmaps", "get"), namespace="there"),
        role("ClusterRole", "unbound", rule("batch", "jobs", "create")),
        role("ClusterRole", "scaling", rule("*", "*/scale", "get")),
        binding("ClusterRoleBinding", "ClusterRole", "everywhere"),
        binding("RoleBinding", "Role", "own", namespace="here"),
        binding("RoleBinding", "ClusterRole", "scaling", namespace="team"),
    ]
    assert {str(each) for each in audit.granted(objects)} == {
        f"{OPERATOR} get pods",
        f"{OPERATOR} list pods",
        f"{OPERATOR} get secrets a",
        f"{OPERATOR} get secrets b",
        f"{OPERATOR} get *.*/scale",
    }


def test_the_local_cluster_writes_down_what_our_accounts_ask_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches when they begin: they may not end before the log is read."""
    monkeypatch.setattr(config, "binary", Path)  # none need have been built
    policy = yaml.safe_load(config.audit_policy_yaml())
    first, last = policy["rules"]
    assert first == {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{SYSTEM_NAMESPACE}"]}
    assert last == {"level": "None"}
    assert policy["omitStages"] == ["RequestReceived"]
    paths = ClusterPaths("test")
    flags = config.control_plane_commands(paths)["kube-apiserver"]
    assert f"--audit-policy-file={paths.audit_policy}" in flags
    assert f"--audit-log-path={paths.audit_log}" in flags
