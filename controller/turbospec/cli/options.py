"""Options that commands share: where the user looks, and in what form they want the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import click

from turbospec.cli.fleet.api import Api
from turbospec.cli.kube import Kube, connected_client

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Place:
    """Where the user looks: context and namespace. The connection is made when something is asked of it.

    Raises CommandError where there is no cluster to talk to.
    """

    kubeconfig: str | None
    context: str | None
    wanted: str | None

    @cached_property
    def _connection(self) -> tuple[Any, str]:
        return connected_client(self.kubeconfig, self.context)

    @cached_property
    def api(self) -> Api:
        """The cluster, by raw requests."""
        return Api(self._connection[0])

    @cached_property
    def kube(self) -> Kube:
        """The cluster, for profiles and what measures them."""
        return Kube(self._connection[0])

    @property
    def namespace(self) -> str:
        """The namespace asked for, else the context's."""
        return self.wanted or self._connection[1]


def place_options(command: Command) -> Command:
    """``--namespace``, ``--context`` and ``--kubeconfig``, handed on as ``place``."""

    @wraps(command)
    def wrapped(
        *arguments: Any, namespace: str | None, context: str | None, kubeconfig: str | None, **rest: Any
    ) -> Any:
        return command(*arguments, place=Place(kubeconfig, context, namespace), **rest)

    placed: Any = wrapped
    for option in (
        click.option("--kubeconfig", metavar="FILE", type=click.Path(dir_okay=False), help="As kubectl's."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: its current one."),
        click.option("-n", "--namespace", metavar="NAME", help="Default: the context's."),
    ):
        placed = option(placed)
    return placed  # type: ignore[no-any-return]


def output_option(*forms: str) -> Callable[[Command], Command]:
    """``-o``, handed on as ``output``; the first form is the default."""
    return click.option("-o", "--output", type=click.Choice(forms), default=forms[0], show_default=True)


EVERYWHERE = click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of every namespace.")
