"""What is run: arms and metrics on scenarios, each with a target that was tuned in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.control.report import ROOT
from benchmarks.fleet.store import Row, Store, fingerprint, read
from turbospec.simulation.files import read_yaml
from turbospec.simulation.fleet.files import FleetScenario, MetricName, load_scenario
from turbospec.simulation.fleet.judge import best_of, first_target, run, variants
from turbospec.simulation.fleet.tuning import MOST_MISSES, Tuned, tune

SCENARIOS = Path(__file__).parent / "scenarios"
RESULTS = ROOT / "build" / "bench-fleet"
NAMES = ("diurnal", "flash-crowd", "slow-ramp", "azure")
TUNING_SEEDS = (100, 101, 102)
"""Targets are found on days that are not among those that are judged. By one day alone an arm came to miss 1.6% of the
judged requests where another missed 0.4%, and fewer pods at more misses are no saving."""
SEEDS = (0, 1, 2, 3, 4)
A_LITTLE = 0.002
"""Days have not all the same number of requests: so much more of one decides it whatever the others have."""

RUNNING, WANTED = MetricName.RUNNING_REQUESTS, MetricName.WANTED_PODS
EXPECTED, NOW = MetricName.EXPECTED_PODS, MetricName.OFFERED_LOAD_RATIO
OTHERS = (MetricName.TOKEN_BACKLOG, MetricName.KV_CACHE_USAGE, MetricName.INTER_TOKEN_LATENCY)
QUICK = (
    ("turbospec", WANTED),
    ("oracle", RUNNING),
    ("plain", WANTED),
    ("plain", RUNNING),
    ("best-k", WANTED),
    ("static:1", WANTED),
)
FULL = (
    *QUICK[:-1],
    ("loop", WANTED),
    ("static:best", WANTED),
    ("turbospec", RUNNING),
    ("loop", RUNNING),
    ("static:best", RUNNING),
    ("off", RUNNING),
    ("off", WANTED),
    *((arm, metric) for metric in OTHERS for arm in ("plain", "turbospec", "static:best", "loop")),
    *((arm, EXPECTED) for arm in ("turbospec", "plain")),
    ("turbospec", NOW),
)
"""First what the targets are judged by. An oracle fleet reads no metric; it is named under the first."""
LEFT = {
    RUNNING: ("turbospec", "auto"),
    MetricName.KV_CACHE_USAGE: ("preserve", "auto-preserve"),
    MetricName.INTER_TOKEN_LATENCY: ("preserve", "auto-preserve"),
}
"""Speculation comes, and nobody touches the autoscaler of the plain fleet: what it is that comes, by what that
autoscaler reads. With ``autoscaling.preserve`` or without, and each with ``startupVariant: Auto`` too."""


@dataclass(frozen=True, slots=True)
class Case:
    """One arm on one metric in one scenario."""

    scenario: str
    arm: str
    metric: str

    @property
    def path(self) -> Path:
        """Where its runs are."""
        return RESULTS / self.scenario / f"{self.arm.replace(':', '-')}-{self.metric}.json"


@dataclass(frozen=True, slots=True)
class Ran:
    """Days at one target, as tuning looks at them: all of them, or as many as it took to miss too much."""

    rows: Sequence[Row]
    of: int
    """Days that there would have been."""

    @property
    def arm(self) -> str:
        """The variant that ran."""
        return str(self.rows[0]["arm"])

    @property
    def target(self) -> float:
        """Of its autoscaler."""
        return float(self.rows[0]["target"])

    @property
    def miss_share(self) -> float:
        """Of the requests of all days; at least so much where not all were gone through."""
        arrived = sum(row["requests"]["arrived"] for row in self.rows) * self.of / len(self.rows)
        return float(sum(row["misses"]["requests"] for row in self.rows) / arrived)

    @property
    def replica_seconds(self) -> float:
        """What they cost."""
        return float(sum(row["replicaSeconds"] for row in self.rows))


def left_alone(arm: str) -> str:
    """How this arm is called where it has the autoscaler of the plain fleet."""
    return f"{arm}, target of plain"


def scenario_file(name: str) -> Path:
    """Where the scenario of this name is."""
    return SCENARIOS / f"{name}.yaml"


def scenario(name: str) -> FleetScenario:
    """The scenario of this name."""
    return load_scenario(scenario_file(name))


def there(name: str) -> bool:
    """Whether the scenario's trace, if it has one, is there."""
    given = scenario(name)
    return all(part.trace is None or (SCENARIOS / part.trace).exists() for part in given.spec.load)


def made_by(name: str) -> str:
    """What runs of this scenario are made by now."""
    return fingerprint(scenario_file(name))


def words(name: str) -> str:
    """Engine, contexts and objective of a scenario."""
    spec, part = scenario(name).spec, scenario(name).spec.load[0]
    engine = Path(read_yaml(scenario_file(name))["engine"]).stem
    lengths = "lengths of the trace" if part.trace else f"{part.prompt_tokens} + {part.output_tokens} tokens a request"
    token, first = spec.objective.time_per_output_token, spec.objective.time_to_first_token
    ceilings = [f"{ceiling.milliseconds} ms {what}" for ceiling, what in ((token, "TPOT"), (first, "TTFT")) if ceiling]
    return f"engine `{engine}`, {lengths}, {' and '.join(ceilings)}"


def measure(case: Case, seeds: Sequence[int], made: str) -> None:
    """Tune on days of their own, then run one day for each seed; all of it goes into the case's file."""
    given, metric, store = scenario(case.scenario), MetricName(case.metric), Store(case.path, made)

    def at(arm: str, target: float, seed: int, most: float | None = None) -> Row:
        return store.get(
            arm, target, seed, lambda: run(given, arm, metric, target, seed=seed, most_misses=most).as_json()
        )

    def days(arm: str, target: float) -> Ran:
        ran = Ran((), len(TUNING_SEEDS))
        for seed in TUNING_SEEDS:
            # What all days together may miss, less what those before did: a day that misses more decides it.
            left = ran.of * MOST_MISSES - sum(row["misses"]["share"] for row in ran.rows)
            ran = Ran((*ran.rows, at(arm, target, seed, left + A_LITTLE)), ran.of)
            if ran.miss_share > MOST_MISSES:
                break
        return ran

    def tuned(arm: str) -> Tuned[Ran]:
        return tune(lambda target: days(arm, target), first_target(given, arm, metric))

    best = best_of([tuned(arm) for arm in variants(given, case.arm)]).best
    if best is None:
        return
    for seed in seeds:
        at(best.arm, best.target, seed)
        if case.arm == "plain":
            for arm in LEFT.get(metric, ()):
                at(arm, best.target, seed)


def rows(case: Case, made: str | None = None) -> list[dict[str, Any]]:
    """What is known of a case; with ``made`` only what was made by this."""
    found = []
    for row in read(case.path, made):
        came, tuning = case.arm == "plain" and row["arm"] != "plain", row["seed"] in TUNING_SEEDS
        name = left_alone(row["arm"]) if came else case.arm
        found.append({"scenario": case.scenario, "case": name, "tuning": tuning, **row})
    return found
