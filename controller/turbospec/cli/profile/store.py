"""``list``, ``export``, ``import`` and ``promote``: profiles in files, namespaces and the cluster."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from statistics import median

import click

from turbospec.cli.errors import CommandError
from turbospec.cli.options import EVERYWHERE, Place, output_option, place_options
from turbospec.cli.profile import tables
from turbospec.cli.profile.compare import beside_plain
from turbospec.cli.profile.console import console
from turbospec.cli.profile.files import (
    PROMOTED_FROM,
    Profile,
    Raw,
    manifest,
    profile_of,
    read_profile,
    rendered,
    write_text,
)
from turbospec.cli.profile.options import called
from turbospec.wire.crd import CLUSTER_PROFILE, PROFILE

DRY_RUN = click.option("--dry-run", is_flag=True, help="Have the API server check it, and write nothing.")
REPLACE = click.option("--replace", "replaces", is_flag=True, help="Put it in the place of one of that name.")


@click.command("list")
@place_options
@EVERYWHERE
@output_option("table", "yaml", "json")
def list_profiles(place: Place, *, everywhere: bool, output: str) -> None:
    """Profiles of the namespace and the cluster, and whether they can be used."""
    found = place.kube.profiles(None if everywhere else place.namespace)
    try:
        found = [*found, *place.kube.cluster_profiles()]
    except CommandError as error:
        # Who may see one namespace only is told, and still gets what is there.
        click.echo(f"Warning: {error.message}", err=True)
    if output != "table":
        items = [{key: value for key, value in each.items() if key != "status"} for each in found]
        click.echo(rendered({"apiVersion": "v1", "kind": "List", "items": items}, output), nl=False)
    elif not found:
        click.echo("No profiles found.", err=True)
    else:
        console().print(tables.listed([_row(each) for each in found]))


@click.command("export")
@click.argument("name", metavar="PROFILE")
@click.option(
    "-f", "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write it there instead of to stdout."
)
@place_options
@output_option("yaml", "json")
def export(place: Place, name: str, *, path: Path | None, output: str) -> None:
    """PROFILE as a file that another cluster can take: its measurements and where they come from, nothing else."""
    text = rendered(manifest(called(place, name)), output)
    if path is None:
        click.echo(text, nl=False)
    else:
        write_text(path, text)


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", "wanted", help="Name of the object. Default: as in the file.")
@click.option("--cluster", "shared", is_flag=True, help="As ClusterSpeculationProfile, for all namespaces.")
@REPLACE
@DRY_RUN
@place_options
def import_profile(
    place: Place, path: Path, *, wanted: str | None, shared: bool, replaces: bool, dry_run: bool
) -> None:
    """Bring the profile in FILE into the namespace or the cluster."""
    found = _named(read_profile(path), wanted)
    made = manifest(found, cluster=True) if shared else manifest(found, namespace=place.namespace)
    _write(place, made, replaces=replaces, dry_run=dry_run)


@click.command()
@click.argument("name")
@click.option("--as", "wanted", metavar="NAME", help="Name in the cluster. Default: the same.")
@REPLACE
@DRY_RUN
@place_options
def promote(place: Place, name: str, *, wanted: str | None, replaces: bool, dry_run: bool) -> None:
    """Share the namespace's profile NAME with every namespace, as ClusterSpeculationProfile."""
    found = profile_of(
        place.kube.profile(name, place.namespace), f"{PROFILE.kind} {name} in namespace {place.namespace}"
    )
    found, origin = _named(found, wanted), {PROMOTED_FROM: f"{place.namespace}/{name}"}
    _write(place, manifest(found, cluster=True, annotations=origin), replaces=replaces, dry_run=dry_run)


def _write(place: Place, made: Raw, *, replaces: bool, dry_run: bool) -> None:
    done = place.kube.write(made, replace=replaces, dry_run=dry_run)
    metadata = made["metadata"]
    where = f" in namespace {metadata['namespace']}" if "namespace" in metadata else ""
    click.echo(f"{made['kind'].lower()}/{metadata['name']} {done}{where}{' (dry run)' if dry_run else ''}")


def _named(found: Profile, wanted: str | None) -> Profile:
    return found if wanted is None else replace(found, name=wanted)


def _plain(found: Profile) -> str:
    """By how much steps of the engine without speculation are faster than this one's at K = 0, in the median."""
    if found.spec.plain is None or not found.spec.plain.cells:
        return "-"
    return f"{median(each.faster for each in beside_plain(found.model, found.spec.plain)):+.0%}"


def _row(raw: Raw) -> dict[str, str]:
    shared = raw.get("kind") == CLUSTER_PROFILE.kind or "namespace" not in raw["metadata"]
    name = raw["metadata"]["name"]
    row = {"NAMESPACE": "(cluster)" if shared else raw["metadata"]["namespace"], "NAME": name}
    try:
        found = profile_of(raw, name)
    except CommandError as error:
        reason = error.message.removeprefix(f"{name}: ")
        unknown = dict.fromkeys(("METHOD", "HARDWARE", "VLLM", "CELLS", "ERROR", "PLAIN", "AGE"), "")
        return row | unknown | {"USABLE": reason}
    spec, error_permille = found.spec, found.spec.hold_out_error_permille
    measured = spec.provenance.measured_at or raw["metadata"].get("creationTimestamp")
    return row | {
        "METHOD": spec.identity.method,
        "HARDWARE": spec.identity.hardware,
        "VLLM": spec.identity.engine_version,
        "CELLS": str(len(spec.cells)),
        "ERROR": "-" if error_permille is None else f"{error_permille / 10:.1f}%",
        "PLAIN": _plain(found),
        "AGE": tables.age(measured, dt.datetime.now(dt.UTC)),
        "USABLE": "yes",
    }
