"""``turbospec schedule``: K by batch, as engines would decide it now."""

from typing import Any

import click

from turbospec.cli.fleet import policies
from turbospec.cli.fleet.api import Raw
from turbospec.cli.fleet.output import show, table
from turbospec.cli.options import Place, output_option, place_options


@click.command()
@click.argument("name", metavar="POD|POLICY")
@place_options
@output_option("table", "json", "yaml")
def schedule(name: str, *, place: Place, output: str) -> None:
    """K by batch: the table in force on an engine, or on each engine of a policy.

    POD|POLICY is the name of either; pod/NAME and policy/NAME say which. An engine that decides for itself moves this
    table with acceptance and load; under spec.engine.loop: Table it is the operator's. As json, schedule is what
    vLLM takes as num_speculative_tokens_per_batch_size: [first batch, last batch, K].
    """
    found = policies.named_engines(place.api, place.namespace, name)
    show(output, {"engines": [_facts(*each) for each in found]}, "\n\n".join(_text(*each) for each in found))


def _facts(policy: Raw, engine: Raw) -> dict[str, Any]:
    rows = engine.get("schedule") or ()
    return {
        "policy": policy["metadata"]["name"],
        "pod": engine["pod"],
        "batch": engine.get("batch"),
        "schedule": [[row["fromBatch"], row["toBatch"], row["draftTokens"]] for row in rows],
    }


def _text(policy: Raw, engine: Raw) -> str:
    facts = _facts(policy, engine)
    title = f"{facts['pod']} (policy {facts['policy']})"
    if not facts["schedule"]:
        return f"{title}: its table is not known: {engine.get('message') or engine.get('reason')}"
    rows = [
        [
            first if first == last else f"{first}-{last}",
            k,
            "<- now" if facts["batch"] and first <= facts["batch"] <= last else "",
        ]
        for first, last, k in facts["schedule"]
    ]
    return f"{title}:\n{table(('BATCH', 'K', ''), rows)}"
