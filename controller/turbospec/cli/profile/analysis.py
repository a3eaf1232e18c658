"""``diff``, ``fit`` and ``plot``: what a profile says, alone and beside another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from turbospec.cli.errors import CommandError
from turbospec.cli.options import Place, output_option, place_options
from turbospec.cli.profile import compare, tables
from turbospec.cli.profile.console import console
from turbospec.cli.profile.files import Profile, rendered
from turbospec.cli.profile.options import acceptances, called
from turbospec.wire.latency import from_model
from turbospec.wire.plain_engine import PlainEngine


@click.command()
@click.argument("first", metavar="PROFILE")
@click.argument("second", metavar="PROFILE")
@click.option("--acceptance", default="0.5,0.7,0.9", show_default=True, callback=acceptances, help="For best K.")
@place_options
@output_option("table", "yaml", "json")
def diff(place: Place, first: str, second: str, *, acceptance: tuple[float, ...], output: str) -> None:
    """How two profiles differ: step times by cell, T(K)/T(0), and the K that either would choose."""
    one, two = called(place, first), called(place, second)
    found = compare.compare(one.model, two.model, acceptance)
    if output != "table":
        click.echo(rendered(_difference_document(found), output), nl=False)
        return
    out = console()
    for line in _identity_differences(one, two):
        out.print(line)
    ratios = sorted(cell.ratio for cell in found.cells)
    left_out = f"; {found.left_out} of the first left out, beyond the second's range" if found.left_out else ""
    out.print(
        f"{len(found.cells)} cells compared{left_out}. Step times of the second over the first: "
        f"median {ratios[len(ratios) // 2]:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}.",
    )
    cells, choices = tables.differences(found)
    out.print("\nLargest differences in T(K)/T(0):", cells)
    if found.differing:
        out.print(f"\nBest K differs, at context {found.context_tokens}:", choices)
    else:
        out.print(f"\nBest K is the same everywhere, at context {found.context_tokens}.")


@click.command()
@click.argument("name", metavar="PROFILE")
@place_options
@output_option("table", "yaml", "json")
def fit(place: Place, name: str, *, output: str) -> None:
    """Fit PROFILE's cells anew: errors, and coefficients ready for spec.fit (-o yaml)."""
    found = called(place, name)
    made = compare.refit(found.model)
    if output != "table":
        coefficients = from_model(replace(found.model, fit=made.coefficients)).fit.model_dump(by_alias=True)
        errors = {
            "medianErrorPermille": round(1000 * made.median_error),
            "holdOutErrorPermille": None if made.hold_out is None else round(1000 * made.hold_out),
        }
        click.echo(rendered({"fit": coefficients, **errors}, output), nl=False)
        return
    stored = found.spec.hold_out_error_permille
    unseen = "not known" if made.hold_out is None else f"{made.hold_out:.1%}"
    measured = "not stated" if stored is None else f"{stored / 10:.1f}%"
    coefficients_table, worst = tables.fitted(made, found.model.fit)
    out = console()
    out.print(
        f"{len(found.model.cells)} cells. Median error: {made.median_error:.1%} fitted anew, "
        f"{made.stored_median_error:.1%} with the profile's fit. "
        f"On unseen cells: {unseen} (the profile says {measured})."
    )
    out.print(coefficients_table, "\nFarthest from the new fit:", worst)
    if found.spec.plain is not None:
        ratios = compare.beside_plain(found.model, found.spec.plain)
        out.print(_plain_line(found, found.spec.plain), tables.plain(ratios))


@click.command()
@click.argument("name", metavar="PROFILE")
@click.option(
    "-f", "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="The PNG. Default: NAME.png."
)
@click.option("--acceptance", default="0.7", show_default=True, callback=acceptances, help="Of every draft token.")
@click.option("--context-tokens", type=click.IntRange(1), help="Tokens. Default: the median measured.")
@place_options
def plot(
    place: Place, name: str, *, path: Path | None, acceptance: tuple[float, ...], context_tokens: int | None
) -> None:
    """Draw PROFILE: goodput over K and batch against K = 0, and step times."""
    # matplotlib takes half a second to import: only who wants a picture waits for it.
    from turbospec.cli.profile.plot import plot as draw

    found = called(place, name)
    target = path or Path(f"{found.name}.png")
    try:
        draw(found, target, acceptance=acceptance[0], context_tokens=context_tokens)
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error.strerror}") from error
    click.echo(f"wrote {target}")


def _plain_line(found: Profile, plain: PlainEngine) -> str:
    start = found.spec.provenance.start_seconds
    kv = "" if not found.spec.kv_cache_tokens else f", this one's {found.spec.kv_cache_tokens}"
    began = "" if start is None else f", this one in {start} s with cold caches"
    return (
        f"\nThe same engine without speculation: its KV cache holds {plain.kv_cache_tokens} tokens{kv}; "
        f"it started in {plain.start_seconds} s{began}."
    )


def _identity_differences(one: Profile, two: Profile) -> list[str]:
    first, second = _flat(one), _flat(two)
    changed = [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]
    if not changed:
        return ["Same key: hardware, models, method and engine are equal."]
    return [f"{name}: {first.get(name, '-')} | {second.get(name, '-')}" for name in changed]


def _flat(found: Profile) -> dict[str, str]:
    identity = found.spec.identity.model_dump(by_alias=True)
    arguments = identity.pop("engineArguments")
    return {**identity, **{f"engineArguments.{name}": value for name, value in arguments.items()}}


def _difference_document(found: compare.Comparison) -> dict[str, Any]:
    cells = [
        {
            "batch": cell.batch,
            "contextTokens": cell.context_tokens,
            "draftTokens": cell.draft_tokens,
            "microseconds": [round(1e6 * cell.first), round(1e6 * cell.second)],
            "ratio": round(cell.ratio, 4),
            "relativeCostChange": None if cell.relative_change is None else round(cell.relative_change, 4),
        }
        for cell in found.cells
    ]
    choices = [
        {
            "acceptance": each.acceptance,
            "batch": each.batch,
            "bestDraftTokens": [each.first, each.second],
            "goodputLost": round(each.loss, 4),
        }
        for each in found.choices
    ]
    return {"cells": cells, "leftOut": found.left_out, "contextTokens": found.context_tokens, "choices": choices}
