"""``watch``: profiling Jobs while they run."""

import time
from collections.abc import Iterator

import click
from rich.live import Live

from turbospec.cli.options import EVERYWHERE, Place, output_option, place_options
from turbospec.cli.profile import progress, tables
from turbospec.cli.profile.console import console
from turbospec.cli.profile.files import rendered

POLL_SECONDS = 2.0


@click.command()
@EVERYWHERE
@click.option("--once", is_flag=True, help="Print how things stand now, and end.")
@place_options
@output_option("table", "json", "yaml")
def watch(place: Place, *, everywhere: bool, once: bool, output: str) -> None:
    """Percent and remaining time of running profiling Jobs, until all have ended. Exit status 1 where one failed."""
    where = None if everywhere else place.namespace
    if output != "table":
        found = progress.observe(place.kube, where)
        click.echo(rendered([each.as_json() for each in found], output), nl=False)
    elif once:
        found = progress.observe(place.kube, where)
        if found:
            console().print(tables.watched(found))
    else:
        found = _follow(place, where)
    if not found:
        click.echo("No profiling Jobs found.", err=True)
    if any(each.phase == progress.FAILED for each in found):
        raise click.exceptions.Exit(1)


def _follow(place: Place, where: str | None) -> list[progress.Progress]:
    """A live table on a terminal; elsewhere a line for each change. Returns how the Jobs ended."""
    out = console()
    found: list[progress.Progress] = []
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            for found in _rounds(place, where):
                live.update(tables.watched(found), refresh=True)
        return found
    told: dict[tuple[str, str], str] = {}
    for found in _rounds(place, where):
        for each in found:
            line = f"{each.namespace}/{each.job} {each.phase}: {each.message}"
            if told.get((each.namespace, each.job)) != line:
                told[each.namespace, each.job] = line
                click.echo(line)
    return found


def _rounds(place: Place, where: str | None) -> Iterator[list[progress.Progress]]:
    """How the Jobs stand, every two seconds, until none is running."""
    while True:
        found = progress.observe(place.kube, where)
        yield found
        if all(each.phase != progress.RUNNING for each in found):
            return
        time.sleep(POLL_SECONDS)
