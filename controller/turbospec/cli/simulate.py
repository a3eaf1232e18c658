"""``turbospec simulate``: the engine loop and its rivals on a simulated engine."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.profiling.evaluate import TooFewSamplesError
from turbospec.simulation.files import EngineFile, ScenarioError, WorkloadFile, load
from turbospec.simulation.profiles import load_profile
from turbospec.simulation.results import Run
from turbospec.simulation.run import NAMES, ProfileSource, Scenario, run

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("engine", type=FILE)
@click.argument("workload", type=FILE)
@click.option(
    "--controller",
    "controllers",
    multiple=True,
    default=("turbospec", "off"),
    show_default=True,
    help=f"Repeat for several, or separate by commas: {NAMES}.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Arms of one seed are paired.")
@click.option("--profile", metavar="FILE|none", help="Latency profile for turbospec; measured first where not given.")
@click.option("--output", type=click.Choice(["json", "table"]), default="json", show_default=True)
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw all arms into this PNG.")
def simulate(  # noqa: PLR0917 - click passes every parameter by name
    engine: Path,
    workload: Path,
    controllers: tuple[str, ...],
    seed: int,
    profile: str | None,
    output: str,
    picture: Path | None,
) -> None:
    """Run controllers on the simulated engine ENGINE (YAML) under the load WORKLOAD (YAML)."""
    try:
        scenario = Scenario(
            engine=load(engine, EngineFile),
            workload=load(workload, WorkloadFile),
            path=workload,
            seed=seed,
            profile=_profile(profile),
            keep_series=picture is not None,
        )
        names = [name.strip() for value in controllers for name in value.split(",") if name.strip()]
        runs = _run_all(scenario, list(dict.fromkeys(names)))
    except ScenarioError as error:
        raise click.ClickException(str(error)) from error
    except (TooFewSamplesError, ImpossibleFitError, InvalidProfileError) as error:
        raise click.ClickException(f"{engine}: the engine cannot be profiled: {error}") from error
    if picture is not None:
        _draw(runs, picture)
    if output == "json":
        click.echo(json.dumps({"seed": seed, "runs": [one.as_json() for one in runs]}, indent=2))
    else:
        Console().print(_table(runs))


def _profile(value: str | None) -> ProfileSource:
    if value is None:
        return ProfileSource()
    return ProfileSource(measured=False, model=None if value == "none" else load_profile(Path(value)))


def _run_all(scenario: Scenario, names: list[str]) -> list[Run]:
    """All arms, with a progress bar on a terminal (on stderr: stdout belongs to the results)."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        runs = []
        for name in names:
            task = bar.add_task(name, total=1.0)
            runs.append(run(scenario, name, lambda share, task=task: bar.update(task, completed=share)))  # type: ignore[misc]
            bar.update(task, completed=1.0)
    return runs


def _draw(runs: list[Run], picture: Path) -> None:
    # matplotlib takes half a second to import: only who wants a picture waits for it.
    from turbospec.simulation.plot import plot

    try:
        plot(runs, picture)
    except OSError as error:
        raise click.ClickException(f"{picture}: cannot be written: {error.strerror}") from error


def _table(runs: list[Run]) -> Table:
    table = Table()
    headings = (
        "controller",
        "tokens/s",
        "latency s",
        "its p99",
        "TPOT ms",
        "TTFT s",
        "mean K",
        "changes",
    )
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading == "controller" else "right", no_wrap=heading == "controller"
        )
    for one in runs:
        requests = one.as_json()["requests"]
        latency, per_token = requests["latencySeconds"], requests["timePerOutputTokenMilliseconds"]
        first = requests["timeToFirstTokenSeconds"]
        numbers = (
            one.goodput,
            latency["mean"],
            latency["p99"],
            per_token["mean"],
            first["mean"],
            one.mean_draft_tokens,
        )
        table.add_row(one.controller, *(_number(value) for value in numbers), str(one.table_changes))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
