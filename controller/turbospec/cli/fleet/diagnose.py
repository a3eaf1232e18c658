"""``turbospec diagnose``: what is misconfigured, and the remedy."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote

import click

from turbospec.cli.fleet import checks, events, policies
from turbospec.cli.fleet.api import Api, DeniedError, MissingError, Raw
from turbospec.cli.fleet.checks import Finding
from turbospec.cli.fleet.output import show
from turbospec.cli.options import EVERYWHERE, Place, output_option, place_options
from turbospec.wire.crd import CUSTOM_RESOURCES
from turbospec_operator import names

WRONG = 3
"""Exit status where something is wrong; 1 says that it could not be found out."""

OURS = "app.kubernetes.io/name=turbospec"
Found = TypeVar("Found")


@click.command()
@EVERYWHERE
@place_options
@output_option("table", "json", "yaml")
@click.pass_context
def diagnose(click_context: click.Context, *, everywhere: bool, place: Place, output: str) -> None:
    """Look for what is misconfigured, and say what to do.

    Exit status 0: nothing is wrong; 3: something is; 1: the cluster could not be asked.
    """
    found = findings(place.api, None if everywhere else place.namespace)
    problems = sum(finding.severity == checks.PROBLEM for finding in found)
    show(output, {"findings": [dataclasses.asdict(each) for each in found]}, _text(found, problems))
    click_context.exit(WRONG if problems else 0)


def _text(found: Sequence[Finding], problems: int) -> str:
    if not found:
        return "Nothing is wrong."
    lines = [f"{each.severity}: {each.where}: {each.what}\n    {each.remedy}" for each in found]
    return "\n".join([*lines, "", f"{problems} problem(s), {len(found) - problems} notice(s)"])


def findings(api: Api, namespace: str | None) -> list[Finding]:
    """All findings of a namespace, or (None) of all. Raises CommandError where the cluster cannot be asked."""
    return list(_Look(api, namespace).findings())


class _Look:
    """Every check; what the user may not see is a notice, and the others go on."""

    def __init__(self, api: Api, namespace: str | None) -> None:
        self._api = api
        self._namespace = namespace
        self._denied: list[Finding] = []

    def findings(self) -> Iterator[Finding]:
        """Of the installation, of the fleet, of events about both, and what was not looked at."""
        deployments = self._allowed(lambda: self._api.list("/apis/apps/v1/deployments", labelSelector=OURS))
        yield from self._installation(deployments)
        governed = self._policies()
        for policy in governed or ():
            yield from checks.policy_conditions(policy)
        if governed == []:
            where = "any namespace" if self._namespace is None else f"namespace {self._namespace}"
            remedy = "see: kubectl turbospec init --help, kubectl explain specpol.spec"
            yield Finding(checks.NOTICE, "policies", f"no SpeculationPolicy in {where}", remedy)
        asking = f"{names.LABEL_INJECT}=true"
        pods = self._allowed(lambda: self._api.list(_path("pods", self._namespace), labelSelector=asking)) or []
        yield from checks.pods(pods)
        yield from self._events(deployments or (), governed or (), pods)
        yield from self._denied

    def _allowed(self, ask: Callable[[], list[Found]]) -> list[Found] | None:
        try:
            return ask()
        except DeniedError as error:
            self._denied.append(Finding(checks.NOTICE, "your permissions", error.message, "so it was not looked at"))
            return None

    def _installation(self, deployments: Sequence[Raw] | None) -> Iterator[Finding]:
        api = self._api
        crds = self._allowed(lambda: [_definition(api, resource.name) for resource in CUSTOM_RESOURCES])
        if crds is not None:
            yield from checks.definitions(dict(zip((each.name for each in CUSTOM_RESOURCES), crds, strict=True)))
        if deployments is not None:
            yield from checks.workloads(deployments)
        hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        configurations = self._allowed(lambda: api.list(hooks, labelSelector=OURS))
        if configurations is not None:
            yield from checks.webhooks(configurations)
        for deployment in deployments or ():
            yield from self._permissions(deployment)

    def _policies(self) -> list[Raw] | None:
        try:
            return self._allowed(lambda: policies.found(self._api, self._namespace))
        except MissingError:
            return None  # that the definition is missing was said

    def _events(self, deployments: Sequence[Raw], governed: Sequence[Raw], pods: Sequence[Raw]) -> Iterator[Finding]:
        """Warnings where policies are, and where TurboSpec itself is."""
        homes = {each["metadata"]["namespace"] for each in deployments} if self._namespace else set()
        paths = [_path("events", where) for where in (self._namespace, *sorted(homes - {self._namespace}))]
        found = [
            event
            for path in paths
            for event in self._allowed(lambda path=path: self._api.list(path, fieldSelector="type=Warning")) or ()  # type: ignore[misc]
        ]
        ours = {str(engine["pod"]) for policy in governed for engine in policies.engines(policy)}
        ours |= {str(pod["metadata"]["name"]) for pod in pods}
        said = {str(each.get("reason")) for policy in governed for each in policies.conditions(policy)}
        yield from events.warnings(found, ours, said, dt.datetime.now(dt.UTC))

    def _permissions(self, deployment: Raw) -> Iterator[Finding]:
        """What the operator's account may do where policies are; only administrators may ask."""
        labels = deployment["metadata"].get("labels") or {}
        if labels.get("app.kubernetes.io/component") != "operator":
            return
        home = deployment["metadata"]["namespace"]
        name = deployment["spec"]["template"]["spec"].get("serviceAccountName", "default")
        account = f"system:serviceaccount:{home}:{name}"
        watched = self._namespace or _watched(deployment)
        answers = self._allowed(lambda: [_review(self._api, account, need, watched) for need in checks.NEEDS])
        for need, answer in zip(checks.NEEDS, answers or (), strict=False):
            granted = bool((answer.get("status") or {}).get("allowed"))
            yield from checks.permission(account, need, allowed=granted)


def _path(plural: str, namespace: str | None) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/{plural}" if namespace else f"/api/v1/{plural}"


def _definition(api: Api, name: str) -> Raw | None:
    try:
        return api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    except MissingError:
        return None


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
