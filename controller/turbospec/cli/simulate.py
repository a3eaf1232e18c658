"""``turbospec simulate``: the engine loop and its rivals on a simulated engine."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from turbospec.cli import arms
from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.profiling.evaluate import TooFewSamplesError
from turbospec.simulation.files import EngineFile, ScenarioError, WorkloadFile, load
from turbospec.simulation.profiles import load_profile
from turbospec.simulation.results import Run
from turbospec.simulation.run import NAMES, ProfileSource, Scenario, run


@click.command()
@click.argument("engine", type=arms.FILE)
@click.argument("workload", type=arms.FILE)
@click.option(
    "--controller",
    "controllers",
    multiple=True,
    default=("turbospec", "off"),
    show_default=True,
    help=f"Repeat for several, or separate by commas: {NAMES}.",
)
@click.option("--profile", metavar="FILE|none", help="Latency profile for turbospec; measured first where not given.")
@arms.result_options
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
        runs = _run_all(scenario, arms.names_of(controllers))
    except ScenarioError as error:
        raise click.ClickException(str(error)) from error
    except (TooFewSamplesError, ImpossibleFitError, InvalidProfileError) as error:
        raise click.ClickException(f"{engine}: the engine cannot be profiled: {error}") from error
    if picture is not None:
        # matplotlib takes half a second to import: only who wants a picture waits for it.
        from turbospec.simulation.plot import plot

        arms.draw(plot, runs, picture)
    arms.show(runs, seed, output, _table)


def _profile(value: str | None) -> ProfileSource:
    if value is None:
        return ProfileSource()
    return ProfileSource(measured=False, model=None if value == "none" else load_profile(Path(value)))


def _run_all(scenario: Scenario, names: Sequence[str]) -> list[Run]:
    runs = []
    with arms.bars() as bars:
        for name in names:
            bar = bars(name)
            runs.append(run(scenario, name, bar.done))
            bar.done(1.0)
    return runs


def _table(runs: Sequence[Run]) -> Table:
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
