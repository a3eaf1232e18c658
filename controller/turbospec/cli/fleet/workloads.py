"""Workloads by the names that kubectl gives them: their pod template, and the labels that select their pods."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from turbospec.cli.errors import CommandError
from turbospec.cli.fleet.api import Api, Raw

_KINDS: Mapping[str, str] = {
    name: kind
    for kind, names in {
        "deployment": ("deploy", "deployment", "deployments"),
        "statefulset": ("sts", "statefulset", "statefulsets"),
        "daemonset": ("ds", "daemonset", "daemonsets"),
        "replicaset": ("rs", "replicaset", "replicasets"),
    }.items()
    for name in names
}


@dataclass(frozen=True, slots=True)
class Workload:
    """``labels`` are those that its selector wants of every pod; ``unmatched``: it wants more than labels can say."""

    kind: str
    name: str
    namespace: str
    labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    pod_spec: Raw
    unmatched: bool

    @property
    def title(self) -> str:
        """As kubectl names it."""
        return f"{self.kind}/{self.name}"

    def pods(self, api: Api) -> list[Raw]:
        """Its pods, those that have ended left out. Raises CommandError."""
        wanted = ",".join(f"{label}={value}" for label, value in self.labels.items())
        found = api.list(f"/api/v1/namespaces/{quote(self.namespace)}/pods", labelSelector=wanted)
        return [pod for pod in found if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def named_workload(api: Api, namespace: str, name: str) -> Workload:
    """The workload ``KIND/NAME``. Raises CommandError where there is none, or where no policy could select its pods."""
    kind, _, rest = name.partition("/")
    if kind.lower() not in _KINDS or not rest:
        raise CommandError(
            f"{name}: write KIND/NAME with deployment, statefulset, daemonset or replicaset; of anything else, name "
            f"what it made: kubectl get deployments,statefulsets -n {namespace}"
        )
    kind = _KINDS[kind.lower()]
    raw = api.get(f"/apis/apps/v1/namespaces/{quote(namespace)}/{kind}s/{quote(rest)}")
    selector, template = raw["spec"].get("selector") or {}, raw["spec"].get("template") or {}
    labels = selector.get("matchLabels") or {}
    if not labels:
        raise CommandError(
            f"{kind}/{rest}: its selector has no matchLabels, by which a policy selects; give its pods a label of "
            "their own and write the policy by hand"
        )
    return Workload(
        kind=kind,
        name=rest,
        namespace=namespace,
        labels=labels,
        pod_labels=(template.get("metadata") or {}).get("labels") or {},
        pod_spec=template.get("spec") or {},
        unmatched=bool(selector.get("matchExpressions")),
    )
