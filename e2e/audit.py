"""What TurboSpec's service accounts asked of the API server, by its audit log, beside what the chart lets them ask.

Pure. The local cluster writes the log (``e2e.cluster.config``); rules are those of rendered objects.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Raw = Mapping[str, Any]

ACCOUNT_PREFIX = "system:serviceaccount:"
FORBIDDEN = 403


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """One verb on one resource; ``resource`` as RBAC errors spell it (``jobs.batch``, ``*.*/scale``), ``name`` the only
    object that it is for, or "" for all."""

    account: str
    verb: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.account} {self.verb} {self.resource}{f' {self.name}' if self.name else ''}"


@dataclass(frozen=True, slots=True)
class Request:
    """What one account asked, and the status of the answer. ``resource`` and ``name`` are empty for what is none."""

    account: str
    verb: str
    resource: str
    name: str
    namespace: str
    code: int

    def __str__(self) -> str:
        return f"{self.code} {self.account} {self.verb} {self.resource} {self.namespace}/{self.name}"

    def uses(self, permission: Permission) -> bool:
        """Whether this is what the permission is for."""
        resource = self.resource
        if permission.resource == "*.*/scale":
            resource = "*.*/scale" if resource.endswith("/scale") else resource
        asked = (self.account, self.verb, resource)
        return asked == (permission.account, permission.verb, permission.resource) and permission.name in (
            "",
            self.name,
        )


UNUSED_IN_E2E: Mapping[Permission, str] = {
    Permission("turbospec-operator", "get", "speculationprofiles.turbospec.io"): "only where a profile is replaced",
    Permission("turbospec-operator", "update", "speculationprofiles.turbospec.io"): "only where a profile is replaced",
    Permission("turbospec-operator", "get", "*.*/scale"): "there is no autoscaler",
    Permission("turbospec-operator", "get", "scaledobjects.keda.sh"): "there is no KEDA",
    Permission("turbospec-operator", "list", "variantautoscalings.llmd.ai"): "there is no WVA",
    Permission("turbospec-operator", "list", "podautoscalers.autoscaling.internal.knative.dev"): "there is no Knative",
    Permission("turbospec-operator", "create", "secrets"): "the master key is made by whoever starts first",
    Permission("turbospec-webhook", "update", "secrets", "turbospec-webhook-tls"): "ten months before it is renewed",
}
"""What the end-to-end test may leave unused, and why; ``tests/operator/test_each_permission.py`` uses each."""


def requests(lines: Iterable[str]) -> Iterator[Request]:
    """The requests of service accounts in an audit log, one event a line; those of everybody else are left out.

    Raises ValueError for what is no audit log.
    """
    for line in lines:
        event = json.loads(line)
        if event.get("kind") != "Event" or "verb" not in event:
            raise ValueError(f"not an event of an audit log: {line[:80]}")
        user = event["user"]["username"]
        if user.startswith(ACCOUNT_PREFIX):
            yield _request(user.rpartition(":")[2], event)


def refused(found: Iterable[Request]) -> list[str]:
    """What was forbidden, each once."""
    return sorted({str(request) for request in found if request.code == FORBIDDEN})


def unused(permissions: Iterable[Permission], found: Iterable[Request]) -> set[Permission]:
    """Those that no successful request needed."""
    asked = {request for request in found if request.code != FORBIDDEN}
    return {each for each in permissions if not any(request.uses(each) for request in asked)}


def granted(objects: Iterable[Raw]) -> set[Permission]:
    """What rendered roles give to service accounts by rendered bindings."""
    documents = [each for each in objects if each]
    rules = {_place(each): each.get("rules") or [] for each in documents if each["kind"] in ("Role", "ClusterRole")}
    return {
        Permission(subject["name"], verb, _spelt(group, resource), name)
        for binding in documents
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
        if subject["kind"] == "ServiceAccount"
        for rule in rules.get(_referred(binding), [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
    }


def _request(account: str, event: Raw) -> Request:
    about = event.get("objectRef") or {}
    resource = _spelt(about.get("apiGroup", ""), about.get("resource", "")) if about else ""
    if about.get("subresource"):
        resource += f"/{about['subresource']}"
    code = int((event.get("responseStatus") or {}).get("code", 0))
    return Request(account, event["verb"], resource, about.get("name", ""), about.get("namespace", ""), code)


def _spelt(group: str, resource: str) -> str:
    plural, slash, subresource = resource.partition("/")
    return (f"{plural}.{group}" if group else plural) + slash + subresource


def _place(role: Raw) -> tuple[str, str, str]:
    metadata = role["metadata"]
    return role["kind"], metadata.get("namespace", "") if role["kind"] == "Role" else "", metadata["name"]


def _referred(binding: Raw) -> tuple[str, str, str]:
    kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
    return kind, binding["metadata"].get("namespace", "") if kind == "Role" else "", name
