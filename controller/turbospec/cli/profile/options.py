"""What a profile may be called on the command line, and the acceptances to judge it by."""

from pathlib import Path

import click

from turbospec.cli.errors import CommandError
from turbospec.cli.options import Place
from turbospec.cli.profile.files import Profile, profile_of, read_profile
from turbospec.wire.crd import CLUSTER_PROFILE, PROFILE

FILE_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def called(place: Place, name: str) -> Profile:
    """The profile that a file holds, or an object of this name: ``NAME``, ``specprof/NAME`` of the namespace,
    ``cspecprof/NAME`` of the cluster. Raises CommandError."""
    if Path(name).is_file() or Path(name).suffix in FILE_SUFFIXES:
        return read_profile(Path(name))
    kind, _, rest = name.rpartition("/")
    if kind.lower() in ("", PROFILE.short_name, PROFILE.plural, PROFILE.kind.lower()):
        source = f"{PROFILE.kind} {rest} in namespace {place.namespace}"
        return profile_of(place.kube.profile(rest, place.namespace), source)
    if kind.lower() in (CLUSTER_PROFILE.short_name, CLUSTER_PROFILE.plural, CLUSTER_PROFILE.kind.lower()):
        return profile_of(place.kube.profile(rest, None), f"{CLUSTER_PROFILE.kind} {rest}")
    raise CommandError(
        f"{name}: is no file, and {kind!r} is no kind of profile: write NAME, cspecprof/NAME or FILE.yaml"
    )


def acceptances(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Shares separated by commas, each from 0 to 1."""
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected numbers from 0 to 1, separated by commas") from error
    if not all(0 <= share <= 1 for share in found):
        raise click.BadParameter(f"{value!r}: every acceptance must lie between 0 and 1")
    return found
