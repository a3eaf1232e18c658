"""``turbospec simulate-fleet``: a day of a fleet behind a HorizontalPodAutoscaler, in several arms."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.profiling.evaluate import TooFewSamplesError
from turbospec.simulation.fleet.files import FleetScenario, MetricName, ScenarioError, load_scenario
from turbospec.simulation.fleet.judge import first_target, run, tuned
from turbospec.simulation.fleet.results import FleetRun

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
ARMS = ("plain", "off", "static:best", "loop", "turbospec", "oracle")


@click.command("simulate-fleet")
@click.argument("scenario", type=FILE)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    default=ARMS,
    show_default=True,
    help="Repeat for several, or separate by commas: plain, off, static:K, static:best, loop, turbospec, oracle.",
)
@click.option(
    "--metric",
    type=click.Choice([name.value for name in MetricName]),
    help="What the HPA reads; the scenario's where not given.",
)
@click.option("--target", type=click.FloatRange(min=0.0, min_open=True), help="Its target; the scenario's by default.")
@click.option("--tune", is_flag=True, help="Each arm gets the target with the fewest replica-hours at <= 1% misses.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Arms of one seed are paired.")
@click.option("--output", type=click.Choice(["json", "table"]), default="json", show_default=True)
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw all arms into this PNG.")
def simulate_fleet(  # noqa: PLR0917 - click passes every parameter by name
    scenario: Path,
    arms: tuple[str, ...],
    metric: str | None,
    target: float | None,
    tune: bool,
    seed: int,
    output: str,
    picture: Path | None,
) -> None:
    """Run the fleet of SCENARIO (YAML) through its day, once for each arm."""
    if tune and target is not None:
        raise click.UsageError("--tune looks for the target: leave --target out")
    names = list(dict.fromkeys(name.strip() for value in arms for name in value.split(",") if name.strip()))
    try:
        given = load_scenario(scenario)
        if "plain" in names and given.spec.engine.plain is None and arms == ARMS:
            names.remove("plain")
        reads = given.spec.autoscaler.metric if metric is None else MetricName(metric)
        runs = _run_all(given, names, reads, target, tune=tune, seed=seed, keep=picture is not None)
    except ScenarioError as error:
        raise click.ClickException(str(error)) from error
    except (TooFewSamplesError, ImpossibleFitError, InvalidProfileError) as error:
        raise click.ClickException(f"{scenario}: engine: it cannot be profiled: {error}") from error
    if picture is not None:
        _draw(runs, picture)
    if output == "json":
        click.echo(json.dumps({"seed": seed, "runs": [one.as_json() for one in runs]}, indent=2))
    else:
        Console().print(_table(runs))


def _run_all(
    scenario: FleetScenario,
    names: list[str],
    metric: MetricName,
    target: float | None,
    *,
    tune: bool,
    seed: int,
    keep: bool,
) -> list[FleetRun]:
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
            chosen, arm = target or first_target(scenario, name, metric), name
            if tune:
                bar.update(task, description=f"{name}: target")
                found = tuned(scenario, name, metric, seed=seed)
                if found.best is None:
                    raise ScenarioError(f"{scenario.path}: arm {name}: every target tried misses more than 1%")
                chosen, arm = found.best.target, found.best.arm
                bar.update(task, description=name)
            runs.append(
                run(
                    scenario,
                    arm,
                    metric,
                    chosen,
                    seed=seed,
                    progress=lambda share, task=task: bar.update(task, completed=share),  # type: ignore[misc]
                    keep_moments=keep,
                )
            )
            bar.update(task, completed=1.0)
    return runs


def _draw(runs: list[FleetRun], picture: Path) -> None:
    # matplotlib takes half a second to import: only who wants a picture waits for it.
    from turbospec.simulation.fleet.plot import plot

    try:
        plot(runs, picture)
    except OSError as error:
        raise click.ClickException(f"{picture}: cannot be written: {error.strerror}") from error


def _table(runs: list[FleetRun]) -> Table:
    table = Table()
    headings = (
        "arm",
        "target",
        "tokens/s",
        "misses",
        "TPOT",
        "TTFT",
        "replica-hours",
        "events",
        "mean K",
        "oscillations",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "arm" else "right", no_wrap=heading == "arm")
    for one in runs:
        table.add_row(
            one.arm,
            f"{one.target:.3g}",
            f"{one.goodput:,.0f}",
            f"{one.miss_share:.2%}",
            str(one.missed_tpot),
            str(one.missed_ttft),
            f"{one.replica_hours:.2f}",
            str(one.scale_events),
            f"{one.mean_draft_tokens:.2f}",
            str(one.oscillations),
        )
    return table
