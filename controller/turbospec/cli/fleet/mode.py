"""``turbospec pause`` and ``turbospec resume``: hands off a policy's engines, and on again."""

import click

from turbospec.cli.fleet.api import policies_path
from turbospec.cli.options import Place, place_options

ANNOTATION = "turbospec.io/mode-before-pause"


@click.command()
@click.argument("policy")
@place_options
def pause(policy: str, *, place: Place) -> None:
    """Push nothing to the engines of POLICY any more; they keep what they have."""
    path = policies_path(place.namespace, policy)
    mode = (place.api.get(path).get("spec") or {}).get("mode", "Enforce")
    if mode == "Paused":
        click.echo(f"policy {policy} is paused already")
        return
    place.api.merge(path, {"metadata": {"annotations": {ANNOTATION: mode}}, "spec": {"mode": "Paused"}})
    click.echo(f"policy {policy} is paused; its engines keep what they have. Go on: turbospec resume {policy}")


@click.command()
@click.argument("policy")
@place_options
def resume(policy: str, *, place: Place) -> None:
    """Give POLICY the mode that it had before it was paused."""
    path = policies_path(place.namespace, policy)
    raw = place.api.get(path)
    mode = (raw.get("spec") or {}).get("mode", "Enforce")
    if mode != "Paused":
        click.echo(f"policy {policy} is not paused: its mode is {mode}")
        return
    before = (raw["metadata"].get("annotations") or {}).get(ANNOTATION, "Enforce")
    place.api.merge(path, {"metadata": {"annotations": {ANNOTATION: None}}, "spec": {"mode": before}})
    click.echo(f"policy {policy} goes on: its mode is {before}")
