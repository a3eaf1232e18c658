"""``turbospec top``: every engine with what it runs, delivers and gains, from the policies' statuses."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from turbospec.cli.errors import CommandError
from turbospec.cli.fleet import policies
from turbospec.cli.fleet.api import Api, Raw
from turbospec.cli.fleet.output import show, table
from turbospec.cli.options import EVERYWHERE, Place, output_option, place_options

COLUMNS = ("POLICY", "POD", "HARDWARE", "BATCH", "K", "ACCEPTANCE", "TOKENS/S", "GAIN")
INTERVAL_SECONDS = 5.0
"""Half the time in which the operator brings statuses up to date."""


@click.command()
@click.argument("policy", required=False)
@EVERYWHERE
@click.option("--once", is_flag=True, help="Print the engines as they are now, and end.")
@click.option(
    "--interval",
    default=INTERVAL_SECONDS,
    show_default=True,
    type=click.FloatRange(min=1.0),
    help="Seconds between two looks.",
)
@place_options
@output_option("table", "json", "yaml")
def top(policy: str | None, *, everywhere: bool, once: bool, interval: float, place: Place, output: str) -> None:
    """Engines live: hardware, batch, K, acceptance, goodput, and the gain against speculation off.

    TOKENS/S is measured over the last ten seconds or so; GAIN is what the engine predicts of its K against K = 0, at
    its batch. Figures are those of the policies' statuses, which the operator brings up to date every ten seconds; - is
    not known. Goes on until interrupted on a terminal; elsewhere, and as json or yaml, it looks once.
    """
    if policy and everywhere:
        raise click.UsageError("name a POLICY, or ask for --all-namespaces")
    where = None if everywhere else place.namespace
    if once or output != "table" or not sys.stdout.isatty():
        found = engines(place.api, where, policy)
        show(output, {"engines": found}, text(found, where))
        return
    _follow(pictures(place.api, where, policy), lambda: time.sleep(interval))


def engines(api: Api, namespace: str | None, policy: str | None) -> list[dict[str, Any]]:
    """Every engine's figures, by policy and pod; None where one is not known. Raises CommandError."""
    return [
        figures(each, engine) for each in policies.found(api, namespace, policy) for engine in policies.engines(each)
    ]


def figures(policy: Raw, engine: Raw) -> dict[str, Any]:
    """One engine's, as ``-o json`` has them."""
    return {
        "namespace": policy["metadata"]["namespace"],
        "policy": policy["metadata"]["name"],
        "pod": engine["pod"],
        "controlled": engine["controlled"],
        "hardware": engine.get("hardware"),
        "batch": engine.get("batch"),
        "draftTokens": engine.get("draftTokens"),
        "acceptancePercent": engine.get("acceptancePercent"),
        "tokensPerSecond": engine.get("tokensPerSecond"),
        "gainPercent": _gain(engine.get("decision") or {}),
    }


def _gain(decision: Raw) -> int | None:
    """Predicted goodput of the K that was decided against that of K = 0, in percent more."""
    rates = predicted(decision)
    off, chosen = rates.get(0), of_decided(rates, decision)
    return None if not off or chosen is None else round(100 * (chosen / off - 1))


def predicted(decision: Raw) -> dict[int, int]:
    """Tokens per second that the engine expects of each K that it weighed."""
    return {each["draftTokens"]: each["tokensPerSecond"] for each in decision.get("predictions") or ()}


def of_decided(rates: Mapping[int, int], decision: Raw) -> int | None:
    """Of these rates that of the K that was decided."""
    decided = decision.get("draftTokens")
    return None if decided is None else rates.get(decided)


def text(found: Sequence[dict[str, Any]], where: str | None) -> str:
    """Columns, and a line that sums them up."""
    if not found:
        return f"No policy {'' if where is None else f'of namespace {where} '}governs an engine; see: turbospec status"
    rows = [
        [
            each["policy"] if where is not None else f"{each['namespace']}/{each['policy']}",
            each["pod"],
            each["hardware"],
            each["batch"],
            each["draftTokens"],
            _percent(each["acceptancePercent"]),
            each["tokensPerSecond"],
            _percent(each["gainPercent"], sign="+"),
        ]
        for each in found
    ]
    known = [each["tokensPerSecond"] for each in found if each["tokensPerSecond"] is not None]
    controlled = sum(each["controlled"] for each in found)
    delivered = f"; {sum(known)} tokens/s from {len(known)} of them" if known else ""
    return f"{table(COLUMNS, rows)}\n\n{len(found)} engine(s), {controlled} controlled{delivered}"


def _percent(value: int | None, sign: str = "") -> str | None:
    return None if value is None else f"{value:{sign}d}%"


def pictures(api: Api, where: str | None, policy: str | None) -> Iterator[str]:
    """What to show, look after look, without end; an error stands under the last good figures, but for the first."""
    shown = last = text(engines(api, where, policy), where)
    while True:
        yield shown
        try:
            shown = last = text(engines(api, where, policy), where)
        except CommandError as error:
            shown = f"{last}\n\n{error.message}"


def _follow(looks: Iterator[str], wait: Callable[[], None]) -> None:
    """Show one look after the other; the last one stays when the user has seen enough."""
    # Imported late: only who follows on a terminal needs it.
    from rich.live import Live
    from rich.text import Text

    shown = next(looks)
    try:
        with Live(Text(shown), screen=True, auto_refresh=False) as live:
            live.refresh()
            while True:
                wait()
                shown = next(looks)
                live.update(Text(shown), refresh=True)
    except KeyboardInterrupt:
        click.echo(shown)
