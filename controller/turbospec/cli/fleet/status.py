"""``turbospec status``: what every policy makes of its engines."""

from collections.abc import Sequence
from typing import Any

import click

from turbospec.cli.fleet import policies
from turbospec.cli.fleet.output import show, table
from turbospec.cli.options import EVERYWHERE, Place, output_option, place_options

POLICY_COLUMNS = ("NAMESPACE", "POLICY", "MODE", "PODS", "CONTROLLED", "K", "PROFILE", "READY", "REASON")
ENGINE_COLUMNS = ("POD", "NODE", "K", "BATCH", "ACCEPTANCE", "PROFILE", "CONTROLLED", "REASON")


@click.command()
@click.argument("policy", required=False)
@EVERYWHERE
@place_options
@output_option("table", "json", "yaml")
def status(policy: str | None, *, everywhere: bool, place: Place, output: str) -> None:
    """Policies, and the engines of POLICY: K, batch, acceptance, and what is wrong."""
    if policy and everywhere:
        raise click.UsageError("name a POLICY, or ask for --all-namespaces")
    where = None if everywhere else place.namespace
    found = [policies.summary(raw) for raw in policies.found(place.api, where, policy)]
    show(output, {"policies": found}, _text(found, where, with_engines=policy is not None))


def _text(found: Sequence[dict[str, Any]], where: str | None, *, with_engines: bool) -> str:
    if not found:
        place = "in any namespace" if where is None else f"in namespace {where}"
        return f"No SpeculationPolicy {place}. Say what you want of your vLLM pods: docs/install.md"
    parts = [table(POLICY_COLUMNS, [_policy_row(each) for each in found])]
    if with_engines and found[0]["engines"]:
        parts.append(table(ENGINE_COLUMNS, [_engine_row(each) for each in found[0]["engines"]]))
    unwell = [each for each in found if each["ready"] != "True" and each["message"]]
    parts += [f"{each['namespace']}/{each['name']}: {each['message']}" for each in unwell]
    advised = [each for each in found if each["adviceMessage"]]
    parts += [f"{each['namespace']}/{each['name']}: advice: {each['adviceMessage']}" for each in advised]
    if with_engines and found[0]["worthMessage"]:
        parts.append(f"{found[0]['namespace']}/{found[0]['name']}: worth: {found[0]['worthMessage']}")
    return "\n\n".join(parts)


def _policy_row(each: dict[str, Any]) -> list[object]:
    fields = ("namespace", "name", "mode", "pods", "controlled", "draftTokens", "profile", "ready", "reason")
    return [each[field] for field in fields]


def _engine_row(each: dict[str, Any]) -> list[object]:
    acceptance = each["acceptancePercent"]
    return [
        each["pod"],
        each["node"],
        each["draftTokens"],
        each["batch"],
        None if acceptance is None else f"{acceptance}%",
        each["profile"],
        "yes" if each["controlled"] else "no",
        each["reason"],
    ]
