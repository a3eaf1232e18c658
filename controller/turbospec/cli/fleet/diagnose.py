"""``turbospec diagnose``: what is misconfigured, and the remedy."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import click

from turbospec.cli.fleet import checks, policies
from turbospec.cli.fleet.api import Api, DeniedError, MissingError, Raw, place_options
from turbospec.cli.fleet.checks import Finding
from turbospec.cli.fleet.output import output_option, show
from turbospec.wire.crd import CUSTOM_RESOURCES

WRONG = 3
"""Exit status where something is wrong; 1 says that it could not be found out."""

OURS = "app.kubernetes.io/name=turbospec"
Found = TypeVar("Found")


@click.command()
@click.option("-A", "--all-namespaces", is_flag=True, help="Policies and pods of all namespaces.")
@place_options
@output_option
@click.pass_context
def diagnose(
    click_context: click.Context,
    *,
    all_namespaces: bool,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Look for what is misconfigured, and say what to do.

    Exit status 0: nothing is wrong; 3: something is; 1: the cluster could not be asked.
    """
    api = Api.connect(kubeconfig, context)
    findings = list(_look(api, None if all_namespaces else namespace or api.namespace))
    problems = sum(finding.severity == checks.PROBLEM for finding in findings)
    show(output, {"findings": [dataclasses.asdict(each) for each in findings]}, _text(findings, problems))
    click_context.exit(WRONG if problems else 0)


def _text(findings: Sequence[Finding], problems: int) -> str:
    if not findings:
        return "Nothing is wrong."
    lines = [f"{each.severity}: {each.where}: {each.what}\n    {each.remedy}" for each in findings]
    return "\n".join([*lines, "", f"{problems} problem(s), {len(findings) - problems} notice(s)"])


def _look(api: Api, namespace: str | None) -> Iterator[Finding]:
    """Every check; what the user may not see is a notice, and the others go on."""
    denied: list[Finding] = []

    def allowed(ask: Callable[[], list[Found]]) -> list[Found] | None:
        try:
            return ask()
        except DeniedError as error:
            denied.append(Finding(checks.NOTICE, "your permissions", error.message, "so it was not looked at"))
            return None

    crds = allowed(lambda: [_definition(api, resource.name) for resource in CUSTOM_RESOURCES])
    if crds is not None:
        yield from checks.definitions(dict(zip((each.name for each in CUSTOM_RESOURCES), crds, strict=True)))
    deployments = allowed(lambda: api.list("/apis/apps/v1/deployments", labelSelector=OURS))
    if deployments is not None:
        yield from checks.workloads(deployments)
    hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    configurations = allowed(lambda: api.list(hooks, labelSelector=OURS))
    if configurations is not None:
        yield from checks.webhooks(configurations)
    for deployment in deployments or ():
        yield from _permissions(api, deployment, namespace, allowed)
    try:
        found = allowed(lambda: policies.found(api, namespace))
    except MissingError:
        found = None  # said above
    if found == []:
        where = "any namespace" if namespace is None else f"namespace {namespace}"
        yield Finding(
            checks.NOTICE, "policies", f"no SpeculationPolicy in {where}", "see: kubectl explain specpol.spec"
        )
    for policy in found or ():
        yield from checks.policy_conditions(policy)
    path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
    yield from checks.pods(allowed(lambda: api.list(path, labelSelector=f"{checks.INJECT_LABEL}=true")) or ())
    yield from denied


def _definition(api: Api, name: str) -> Raw | None:
    try:
        return api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    except MissingError:
        return None


def _permissions(
    api: Api, deployment: Raw, namespace: str | None, allowed: Callable[[Callable[[], list[Raw]]], list[Raw] | None]
) -> Iterator[Finding]:
    """What the operator's account may do where policies are; only administrators may ask."""
    labels = deployment["metadata"].get("labels") or {}
    if labels.get("app.kubernetes.io/component") != "operator":
        return
    home = deployment["metadata"]["namespace"]
    name = deployment["spec"]["template"]["spec"].get("serviceAccountName", "default")
    account = f"system:serviceaccount:{home}:{name}"
    watched = namespace or _watched(deployment)

    def ask() -> list[Raw]:
        return [_review(api, account, need, watched) for need in checks.NEEDS]

    for need, answer in zip(checks.NEEDS, allowed(ask) or (), strict=False):
        granted = bool((answer.get("status") or {}).get("allowed"))
        yield from checks.permission(account, need, allowed=granted)


def _watched(deployment: Raw) -> str | None:
    for container in deployment["spec"]["template"]["spec"].get("containers") or ():
        for variable in container.get("env") or ():
            if variable.get("name") == "TURBOSPEC_WATCH_NAMESPACE":
                return str(variable.get("value"))
    return None


def _review(api: Api, account: str, need: tuple[str, str, str, str], namespace: str | None) -> Raw:
    group, resource, subresource, verb = need
    attributes = {"group": group, "resource": resource, "subresource": subresource, "verb": verb}
    if namespace is not None:
        attributes["namespace"] = namespace
    return api.create(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": attributes},
        },
    )
