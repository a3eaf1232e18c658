"""``turbospec init``: a SpeculationPolicy for a workload that runs already, written by looking at it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
from pydantic import ValidationError

from turbospec.cli.errors import CommandError
from turbospec.cli.fleet import policies
from turbospec.cli.fleet.api import Api, DeniedError, Raw, policies_path
from turbospec.cli.fleet.vllm_arguments import DEFAULT_PORT, VllmArguments, serving
from turbospec.cli.fleet.workloads import Workload, named_workload
from turbospec.cli.options import Place, output_option, place_options
from turbospec.wire.crd import GROUP, POLICY, VERSION
from turbospec.wire.speculation_policy import LADDER, SpeculationPolicySpec
from turbospec_operator.names import ANNOTATION_INJECTED, LABEL_INJECT
from turbospec_operator.wording import one_line

NEED_DRAFTER = ("draft_model", "eagle", "eagle3")
MILLISECONDS = click.IntRange(1, 3_600_000)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says beside the workload; None is left out."""

    name: str | None
    mode: str
    method: str | None
    drafter: str | None
    tpot: int | None
    ttft: int | None


@click.command()
@click.argument("workload", metavar="KIND/NAME")
@click.option("--name", help="Name of the policy. Default: the workload's.")
@click.option(
    "--mode", type=click.Choice(["Enforce", "Advise"]), default="Enforce", show_default=True, help="As in spec.mode."
)
@click.option(
    "--method",
    type=click.Choice(["ngram", "draft_model", "eagle", "eagle3", "mtp"]),
    help="Speculative method, where the pods name none. Default: ngram, which needs no drafter.",
)
@click.option("--drafter", metavar="MODEL", help="Draft model of that method.")
@click.option("--tpot", metavar="MS", type=MILLISECONDS, help="Objective: time per output token, 90th percentile.")
@click.option("--ttft", metavar="MS", type=MILLISECONDS, help="Objective: time to first token, 90th percentile.")
@click.option("--apply", "applies", is_flag=True, help="Create the policy as well.")
@place_options
@output_option("yaml", "json")
def init(
    workload: str,
    *,
    name: str | None,
    mode: str,
    method: str | None,
    drafter: str | None,
    tpot: int | None,
    ttft: int | None,
    applies: bool,
    place: Place,
    output: str,
) -> None:
    """Write a SpeculationPolicy for a workload that runs: deployment/NAME, statefulset/NAME, daemonset/NAME.

    It reads the pod template and the pods, prints the policy with what was found and what was not, and changes nothing
    without --apply. As json, the remarks go to standard error.
    """
    wishes = Wishes(name, mode, method, drafter, tpot, ttft)
    if (method in NEED_DRAFTER) != (drafter is not None and method != "mtp"):
        raise click.UsageError(f"--drafter goes with --method {', '.join(NEED_DRAFTER)} (or mtp), and those need it")
    found = named_workload(place.api, place.namespace, workload)
    engine = _engine(found)
    if method and engine.speculation is not None:
        raise CommandError(f"{found.title} names its speculation itself, which is never overruled: leave --method out")
    manifest = policy(found, engine, wishes)
    remarks = [*_found(found, engine, wishes), *_obstacles(place.api, found), *_next_steps(place.api, found)]
    if output == "json":
        click.echo("\n".join(remarks), err=True)
        click.echo(json.dumps(manifest, indent=2))
    else:
        click.echo("".join(f"# {line}\n" for line in remarks) + _yaml(manifest), nl=False)
    if applies:
        place.api.create(policies_path(found.namespace), manifest)
        click.echo(f"{POLICY.kind.lower()}/{manifest['metadata']['name']} created in {found.namespace}", err=True)


def _yaml(manifest: Raw) -> str:
    import yaml

    text: str = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
    return text


def _engine(workload: Workload) -> VllmArguments:
    found = serving(workload.pod_spec)
    if not found:
        raise CommandError(
            f"{workload.title}: no container serves vLLM as far as its command tells; write the policy by hand and "
            "name it in spec.engine.container"
        )
    if len(found) > 1:
        names = ", ".join(each.container for each in found)
        raise CommandError(
            f"{workload.title}: {names} all serve vLLM; write the policy by hand and name one in spec.engine.container"
        )
    return found[0]


def policy(workload: Workload, engine: VllmArguments, wishes: Wishes) -> Raw:
    """The manifest; defaults of the API are left out, but for those that a reader should see. Raises CommandError."""
    speculation: Raw = {"draftTokens": draft_tokens(engine)}
    if engine.speculation is None:
        method = wishes.method or "ngram"
        lookup = {"promptLookupMin": 2, "promptLookupMax": 4} if method == "ngram" else {}
        drafter = {"model": wishes.drafter} if wishes.drafter else {}
        speculation = {"method": method, **drafter, **lookup, **speculation}
    spec: Raw = {
        "selector": {"matchLabels": dict(workload.labels)},
        "mode": wishes.mode,
        "engine": {"container": engine.container, **({"port": engine.port} if engine.port != DEFAULT_PORT else {})},
        "speculation": speculation,
    }
    ceilings = {"timePerOutputToken": wishes.tpot, "timeToFirstToken": wishes.ttft}
    objective = {name: {"milliseconds": value, "percentile": 90} for name, value in ceilings.items() if value}
    if objective:
        spec["objective"] = objective
    try:
        SpeculationPolicySpec.model_validate(spec)
    except ValidationError as error:
        raise CommandError(f"{workload.title} fits no policy: spec.{one_line(error)}; write it by hand") from error
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": POLICY.kind,
        "metadata": {"name": wishes.name or workload.name, "namespace": workload.namespace},
        "spec": spec,
    }


def draft_tokens(engine: VllmArguments) -> list[int]:
    """The default ladder up to the maximum that the pods are started with, and that maximum."""
    most = None if engine.speculation is None else engine.speculation.draft_tokens
    return LADDER if most is None else sorted({k for k in LADDER if k < most} | {most})


def _found(workload: Workload, engine: VllmArguments, wishes: Wishes) -> Iterator[str]:
    yield f"Written by turbospec init from {workload.title} in namespace {workload.namespace}."
    yield f"Found: container {engine.container} serves {engine.model or 'a model that its command does not write out'}."
    said = engine.speculation
    if said is None and engine.config_file:
        yield "Not found: speculation; vLLM reads a --config FILE, which may name it. The file wins: see what it says."
    elif said is None:
        yield "Found: no speculation in the command. spec.speculation is what pods are started with from now on."
        if wishes.method is None:
            yield "ngram needs no drafter; with one: --method eagle3 --drafter MODEL."
    else:
        words = {"method": said.method, "model": said.model, "num_speculative_tokens": said.draft_tokens}
        known = ", ".join(f"{name} {value}" for name, value in words.items() if value is not None)
        yield f"Found: the pods name their speculation themselves ({known or 'not written out'}), and keep it."
        if said.draft_tokens is None:
            yield "Not found: num_speculative_tokens; K above it is not used, whatever draftTokens allows."
    if wishes.tpot is None and wishes.ttft is None:
        yield "Left out: spec.objective; without one goodput is maximised freely (--tpot MS, --ttft MS)."
    if workload.unmatched:
        yield "Left out: the selector's matchExpressions; see that matchLabels selects these pods and no others."


def _obstacles(api: Api, workload: Workload) -> Iterator[str]:
    """Policies that select the same pods."""
    try:
        there = policies.found(api, workload.namespace)
    except CommandError as error:
        yield f"Not looked at: other policies ({error.message})."
        return
    for each in there:
        wanted = (((each.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}).items()
        if wanted and wanted <= workload.pod_labels.items():
            yield f"Beware: policy {each['metadata']['name']} selects these pods already; the older one governs."


def _next_steps(api: Api, workload: Workload) -> Sequence[str]:
    """What has to be done for the pods to be controlled."""
    steps = []
    if _opted_in(api, workload) is not True:
        steps.append(f"kubectl label namespace {workload.namespace} {LABEL_INJECT}=true")
    try:
        pods = workload.pods(api)
    except DeniedError as error:
        return [f"Not looked at: pods ({error.message}).", *(f"Next: {step}" for step in steps)]
    without = [pod for pod in pods if ANNOTATION_INJECTED not in (pod["metadata"].get("annotations") or {})]
    if without:
        steps.append(f"kubectl rollout restart {workload.title} -n {workload.namespace}")
    found = f"Found: {len(pods)} pod(s), {len(without)} of them without the runtime, which pods get when created."
    return [found, *(f"Next: {step}" for step in steps)]


def _opted_in(api: Api, workload: Workload) -> bool | None:
    """Whether pods ask for injection, by their own label or their namespace's; None where that cannot be seen."""
    if LABEL_INJECT in workload.pod_labels:
        return workload.pod_labels[LABEL_INJECT] == "true"
    try:
        namespace: dict[str, Any] = api.get(f"/api/v1/namespaces/{workload.namespace}")
    except CommandError:
        return None
    return (namespace["metadata"].get("labels") or {}).get(LABEL_INJECT) == "true"
