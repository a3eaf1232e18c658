"""What ``simulate`` and ``simulate-fleet`` have in common: several arms, one after the other, shown and drawn."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Arm = TypeVar("Arm", bound="Shown")
Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Shown(Protocol):
    """One arm's results."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""


def result_options(command: Command) -> Command:
    """``--seed``, ``--output`` and ``--plot``, the last handed on as ``picture``."""
    for option in (
        click.option(
            "--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw all arms into this PNG."
        ),
        click.option("--output", type=click.Choice(["json", "table"]), default="json", show_default=True),
        click.option(
            "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Arms of one seed are paired."
        ),
    ):
        command = option(command)
    return command


def names_of(values: Sequence[str]) -> list[str]:
    """The arms asked for, each once; an option's value may hold several, separated by commas."""
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


class Bar:
    """Progress of one arm."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=1.0)

    def done(self, share: float) -> None:
        """From 0 to 1."""
        self._progress.update(self._task, completed=share)

    def says(self, what: str) -> None:
        """What is being done."""
        self._progress.update(self._task, description=what)


@contextmanager
def bars() -> Iterator[Callable[[str], Bar]]:
    """A maker of progress bars on a terminal (on stderr: stdout belongs to the results)."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield lambda name: Bar(progress, name)


def show(runs: Sequence[Arm], seed: int, output: str, table: Callable[[Sequence[Arm]], Table]) -> None:
    """Print the results."""
    if output == "json":
        click.echo(json.dumps({"seed": seed, "runs": [one.as_json() for one in runs]}, indent=2))
    else:
        Console().print(table(runs))


def draw(plot: Callable[[list[Arm], Path], object], runs: list[Arm], picture: Path) -> None:
    """Draw the results. Raises ClickException where the file cannot be written."""
    try:
        plot(runs, picture)
    except OSError as error:
        raise click.ClickException(f"{picture}: cannot be written: {error.strerror}") from error
