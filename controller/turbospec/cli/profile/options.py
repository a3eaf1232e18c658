"""Options that the commands share, and what a profile may be called on the command line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from turbospec.cli.errors import CommandError
from turbospec.cli.kube import Kube
from turbospec.cli.profile.files import Profile, profile_of, read_profile
from turbospec.wire.crd import CLUSTER_PROFILE, PROFILE

Command = TypeVar("Command", bound=Callable[..., Any])

ALL = click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of every namespace.")

FILE_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass
class Place:
    """Where the user looks: context and namespace. The connection is made when something is asked of it."""

    kubeconfig: str | None
    context: str | None
    wanted: str | None
    _kube: Kube | None = field(default=None, repr=False)

    @property
    def kube(self) -> Kube:
        """The cluster."""
        if self._kube is None:
            self._kube = Kube.connect(self.kubeconfig, self.context)
        return self._kube

    @property
    def namespace(self) -> str:
        """The namespace asked for, else the context's."""
        return self.wanted or self.kube.namespace

    def profile(self, name: str) -> Profile:
        """The profile that a file holds, or an object of this name: ``NAME``, ``specprof/NAME`` of the namespace,
        ``cspecprof/NAME`` of the cluster. Raises CommandError."""
        if Path(name).is_file() or Path(name).suffix in FILE_SUFFIXES:
            return read_profile(Path(name))
        kind, _, rest = name.rpartition("/")
        if kind.lower() in ("", PROFILE.short_name, PROFILE.plural, PROFILE.kind.lower()):
            source = f"{PROFILE.kind} {rest} in namespace {self.namespace}"
            return profile_of(self.kube.profile(rest, self.namespace), source)
        if kind.lower() in (CLUSTER_PROFILE.short_name, CLUSTER_PROFILE.plural, CLUSTER_PROFILE.kind.lower()):
            return profile_of(self.kube.profile(rest, None), f"{CLUSTER_PROFILE.kind} {rest}")
        raise CommandError(
            f"{name}: is no file, and {kind!r} is no kind of profile: write NAME, cspecprof/NAME or FILE.yaml"
        )


def place_options(command: Command) -> Command:
    """``--namespace``, ``--context`` and ``--kubeconfig``, handed on as ``place``."""

    def wrapped(
        *arguments: Any, namespace: str | None, context: str | None, kubeconfig: str | None, **rest: Any
    ) -> Any:
        return command(*arguments, place=Place(kubeconfig, context, namespace), **rest)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__dict__.update(command.__dict__)
    for option in (
        click.option("--kubeconfig", metavar="FILE", help="As kubectl's."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: its current one."),
        click.option("-n", "--namespace", metavar="NAME", help="Default: the context's."),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def output_option(*forms: str) -> Callable[[Command], Command]:
    """``-o``, the first form being the default."""
    return click.option("-o", "--output", "form", type=click.Choice(forms), default=forms[0], show_default=True)


def acceptances(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Shares separated by commas, each from 0 to 1."""
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected numbers from 0 to 1, separated by commas") from error
    if not all(0 <= share <= 1 for share in found):
        raise click.BadParameter(f"{value!r}: every acceptance must lie between 0 and 1")
    return found
