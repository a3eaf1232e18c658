"""``turbospec simulate-fleet``: a day of a fleet behind a HorizontalPodAutoscaler, in several arms."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from turbospec.cli.arms import FILE, bars, draw, names_of, result_options, show
from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.profiling.evaluate import TooFewSamplesError
from turbospec.simulation.fleet.files import FleetScenario, MetricName, ScenarioError, load_scenario
from turbospec.simulation.fleet.judge import first_target, run, tuned
from turbospec.simulation.fleet.results import FleetRun

ARMS = ("plain", "off", "static:best", "loop", "turbospec", "oracle")


@click.command("simulate-fleet")
@click.argument("scenario", type=FILE)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    default=ARMS,
    show_default=True,
    help="Repeat for several, or separate by commas: plain, off, static:K, static:best, loop, turbospec, preserve, "
    "auto, auto-preserve, best-k, oracle.",
)
@click.option(
    "--metric",
    type=click.Choice([name.value for name in MetricName]),
    help="What the HPA reads; the scenario's where not given.",
)
@click.option("--target", type=click.FloatRange(min=0.0, min_open=True), help="Its target; the scenario's by default.")
@click.option("--tune", is_flag=True, help="Each arm gets the target with the fewest replica-hours at <= 1% misses.")
@result_options
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
    names = names_of(arms)
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
        # matplotlib takes half a second to import: only who wants a picture waits for it.
        from turbospec.simulation.fleet.plot import plot

        draw(plot, runs, picture)
    show(runs, seed, output, _table)


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
    runs = []
    with bars() as bar_of:
        for name in names:
            bar = bar_of(name)
            chosen, arm = target or first_target(scenario, name, metric), name
            if tune:
                bar.says(f"{name}: target")
                found = tuned(scenario, name, metric, seed=seed)
                if found.best is None:
                    raise ScenarioError(f"{scenario.path}: arm {name}: every target tried misses more than 1%")
                chosen, arm = found.best.target, found.best.arm
                bar.says(name)
            runs.append(run(scenario, arm, metric, chosen, seed=seed, progress=bar.done, keep_moments=keep))
            bar.done(1.0)
    return runs


def _table(runs: Sequence[FleetRun]) -> Table:
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
