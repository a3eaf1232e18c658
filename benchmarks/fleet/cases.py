"""What is run: arms and metrics on scenarios, each with a target that was tuned in the same way."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turbospec.simulation.fleet.files import FleetScenario, MetricName, load_scenario
from turbospec.simulation.fleet.judge import run, tuned
from turbospec.simulation.fleet.results import FleetRun

SCENARIOS = Path(__file__).parent / "scenarios"
NAMES = ("diurnal", "flash-crowd", "slow-ramp", "azure")
TUNING_SEED = 100
"""Targets are found on a day that is not among those that are judged."""
SEEDS = (0, 1, 2, 3, 4)

RUNNING, EXPECTED = MetricName.RUNNING_REQUESTS, MetricName.EXPECTED_PODS
QUICK = (
    ("turbospec", EXPECTED),
    ("oracle", RUNNING),
    ("plain", RUNNING),
    ("turbospec", RUNNING),
    ("loop", RUNNING),
    ("static:1", RUNNING),
)
FULL = (
    *((arm, metric) for arm in ("plain", "off", "static:best", "loop", "turbospec") for metric in MetricName),
    ("oracle", RUNNING),
)
"""An oracle fleet reads no metric; it is named under the first."""
LEFT_ALONE = "turbospec, target of plain"
"""Speculation comes, and nobody touches the autoscaler of the plain fleet."""


@dataclass(frozen=True, slots=True)
class Case:
    """One arm on one metric in one scenario."""

    scenario: str
    arm: str
    metric: str


def scenario(name: str) -> FleetScenario:
    """The scenario of this name."""
    return load_scenario(SCENARIOS / f"{name}.yaml")


def there(name: str) -> bool:
    """Whether the scenario's trace, if it has one, is there."""
    given = scenario(name)
    return all(part.trace is None or (SCENARIOS / part.trace).exists() for part in given.spec.load)


def measure(case: Case, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """The runs that tuning took, and one for each seed at the target that it found."""
    given, metric = scenario(case.scenario), MetricName(case.metric)
    found = tuned(given, case.arm, metric, seed=TUNING_SEED)
    rows = [_row(case, one, tuning=True) for one in found.runs]
    if found.best is not None:
        judged = found.best
        rows += [_row(case, run(given, judged.arm, metric, judged.target, seed=seed), tuning=False) for seed in seeds]
        if case.arm == "plain" and metric is RUNNING:
            left = replace(case, arm=LEFT_ALONE)
            rows += [_row(left, run(given, "turbospec", metric, judged.target, seed=s), tuning=False) for s in seeds]
    return rows


def _row(case: Case, found: FleetRun, *, tuning: bool) -> dict[str, Any]:
    return {"scenario": case.scenario, "case": case.arm, "tuning": tuning, **found.as_json()}
