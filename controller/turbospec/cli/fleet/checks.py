"""What ``turbospec diagnose`` looks at: pure functions from raw objects to findings, each with a remedy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turbospec.cli.fleet.policies import condition
from turbospec.wire.crd import CUSTOM_RESOURCES, GROUP, crd_manifest
from turbospec_operator import names

Raw = dict[str, Any]

PROBLEM, NOTICE = "problem", "notice"

DELIBERATE = frozenset({"Paused", "Advising"})
"""Reasons why a policy is not Ready that are its user's own choice."""

NEEDS: Sequence[tuple[str, str, str, str]] = (
    (GROUP, "speculationpolicies", "", "list"),
    (GROUP, "speculationpolicies", "status", "patch"),
    (GROUP, "speculationprofiles", "", "create"),
    ("", "pods", "", "list"),
    ("", "configmaps", "", "create"),
    ("events.k8s.io", "events", "", "create"),
)
"""(API group, resource, subresource, verb) that the operator cannot do without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong or worth knowing, where, and what to do."""

    severity: str
    where: str
    what: str
    remedy: str


def definitions(found: Mapping[str, Raw | None]) -> Iterator[Finding]:
    """CRDs by name, None for one that is not there: missing, not served, or of another version than this command."""
    for resource in CUSTOM_RESOURCES:
        where, raw = f"crd/{resource.name}", found.get(resource.name)
        apply = "helm upgrade, or kubectl apply --server-side -f crds/"
        if raw is None:
            yield Finding(PROBLEM, where, f"{resource.kind} is not installed", apply)
        elif not any(
            each.get("type") == "Established" and each.get("status") == "True"
            for each in (raw.get("status") or {}).get("conditions") or ()
        ):
            yield Finding(PROBLEM, where, "it is not served", f"look at: kubectl describe crd {resource.name}")
        elif _fields(raw) != _fields(crd_manifest(resource)):
            what = "its fields are not those of this command's version"
            yield Finding(NOTICE, where, what, f"where the operator is as new as this command: {apply}")


def _fields(crd: Raw) -> set[str]:
    """The paths of all fields of a CRD's schema."""

    def below(node: Raw, path: str) -> Iterator[str]:
        for name, child in (node.get("properties") or {}).items():
            yield f"{path}.{name}"
            yield from below(child, f"{path}.{name}")
        if isinstance(node.get("items"), dict):
            yield from below(node["items"], f"{path}[]")

    return {path for each in crd["spec"]["versions"] for path in below(each["schema"]["openAPIV3Schema"], each["name"])}


def workloads(deployments: Sequence[Raw]) -> Iterator[Finding]:
    """Our Deployments, in whatever namespace they are."""
    parts = {(each["metadata"].get("labels") or {}).get("app.kubernetes.io/component") for each in deployments}
    if "operator" not in parts:
        yield Finding(PROBLEM, "operator", "no operator is installed", "helm install turbospec charts/turbospec ...")
    for each in deployments:
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        wanted, ready = each["spec"].get("replicas", 1), (each.get("status") or {}).get("readyReplicas") or 0
        if wanted and not ready:
            remedy = f"kubectl logs deployment/{name} -n {namespace} --all-pods; kubectl describe pods -n {namespace}"
            yield Finding(PROBLEM, f"{namespace}/{name}", f"none of its {wanted} pods is Ready", remedy)
        elif ready < wanted:
            remedy = f"kubectl get pods -n {namespace}"
            yield Finding(NOTICE, f"{namespace}/{name}", f"{ready} of {wanted} pods are Ready", remedy)


def webhooks(configurations: Sequence[Raw]) -> Iterator[Finding]:
    """Our admission webhooks: there, trusted, and never in anyone's way."""
    if not configurations:
        remedy = "webhook.enabled: true in the chart's values (clusterObjects: Skip leaves it to an administrator)"
        yield Finding(NOTICE, "webhook", "there is no webhook: new pods are not injected", remedy)
    for configuration in configurations:
        where = f"mutatingwebhookconfiguration/{configuration['metadata']['name']}"
        hooks = configuration.get("webhooks") or ()
        if any(not (hook.get("clientConfig") or {}).get("caBundle") for hook in hooks):
            what = "no authority is published, so the API server does not trust the webhook and goes on without it"
            remedy = "kubectl logs deployment/turbospec-webhook -n turbospec-system --all-pods"
            yield Finding(PROBLEM, where, what, remedy)
        if any(hook.get("failurePolicy") != "Ignore" for hook in hooks):
            what = "failurePolicy is not Ignore: without the webhook no such pod could be created"
            yield Finding(PROBLEM, where, what, "helm upgrade puts it back")


def policy_conditions(policy: Raw) -> Iterator[Finding]:
    """Every condition that is False, once for each message."""
    where = f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"
    found = (policy.get("status") or {}).get("conditions") or []
    if not found:
        yield Finding(PROBLEM, where, "the operator has not looked at it", "is it running, and for this namespace?")
        return
    generation = policy["metadata"].get("generation", 0)
    if (condition(policy, "Ready").get("observedGeneration") or 0) < generation:
        yield Finding(
            NOTICE, where, "its last change has not been looked at yet", "see the operator's log if it stays so"
        )
    said: set[str] = set()
    # Ready repeats what another condition says.
    for each in sorted(found, key=lambda one: one.get("type") == "Ready"):
        if each.get("status") != "False" or each.get("message") in said:
            continue
        said.add(str(each.get("message")))
        severity = NOTICE if each.get("reason") in DELIBERATE else PROBLEM
        yield Finding(severity, where, f"{each['type']} is False: {each.get('reason')}", str(each.get("message")))


def pods(found: Sequence[Raw]) -> Iterator[Finding]:
    """Pods that opted in by their own label and carry no runtime."""
    for pod in found:
        annotations = pod["metadata"].get("annotations") or {}
        labels = pod["metadata"].get("labels") or {}
        if names.ANNOTATION_INJECTED in annotations or names.LABEL_PROFILING_KEY in labels:
            continue
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if names.ANNOTATION_NOT_INJECTED in annotations:
            reason = annotations[names.ANNOTATION_NOT_INJECTED]
            yield Finding(PROBLEM, where, "the webhook left it as it was", reason)
        else:
            remedy = "create it anew: kubectl rollout restart of its workload"
            yield Finding(PROBLEM, where, "it asks for injection and was created without the webhook", remedy)


def permission(account: str, need: tuple[str, str, str, str], *, allowed: bool) -> Iterator[Finding]:
    """One permission of the operator."""
    group, resource, subresource, verb = need
    name = f"{resource}{f'.{group}' if group else ''}{f'/{subresource}' if subresource else ''}"
    if not allowed:
        yield Finding(PROBLEM, account, f"it may not {verb} {name}", "helm upgrade puts the chart's roles back")
