"""Arms by name, at one target or a tuned one: what the command and the benchmark run."""

from collections.abc import Callable, Sequence

from turbospec.simulation.fleet.arms import Arm, arm_named
from turbospec.simulation.fleet.files import FleetScenario, MetricName
from turbospec.simulation.fleet.results import FleetRun
from turbospec.simulation.fleet.run import FleetSimulation, Scaling
from turbospec.simulation.fleet.tuning import HOPELESS_MISSES, Run, Tuned, tune

DEFAULT_TARGETS = {
    MetricName.RUNNING_REQUESTS: 20.0,
    MetricName.INTER_TOKEN_LATENCY: 25.0,
    MetricName.KV_CACHE_USAGE: 0.3,
    MetricName.TOKEN_BACKLOG: 4000.0,
    MetricName.OFFERED_LOAD_RATIO: 0.7,
    MetricName.EXPECTED_PODS: 0.9,
    MetricName.WANTED_PODS: 0.95,
}
"""Where tuning begins for metrics that the scenario names no target of."""
ORACLE_TARGET = 0.9
"""Engine seconds of work per second of a replica at which tuning an oracle fleet begins."""

DAY_BEFORE = 1000
"""Added to a day's seed: the day before it."""

Progress = Callable[[float], None]


def run(
    scenario: FleetScenario,
    arm: str,
    metric: MetricName,
    target: float,
    *,
    seed: int,
    progress: Progress | None = None,
    keep_moments: bool = False,
    most_misses: float | None = None,
) -> FleetRun:
    """One arm of one seed at one target; ``static:best`` is the K above 0 with the fewest misses, then replica-hours.

    With ``most_misses`` (a share of the day's requests) the day ends where so many have missed. ScenarioError for
    names, engines and loads that cannot be used.
    """
    scaling = Scaling(metric, target)
    found = [
        FleetSimulation(
            scenario, prepared(name, scenario, scaling, seed), scaling, seed, progress, keep_moments, most_misses
        ).run()
        for name in variants(scenario, arm)
    ]
    return min(found, key=lambda one: (one.missed, one.replica_seconds))


def prepared(name: str, scenario: FleetScenario, scaling: Scaling, seed: int) -> Arm:
    """The arm; one that decides how pods start has had a day to do so, another one of the same kind."""
    arm = arm_named(name, scenario, seed)
    if arm.startup is not None:
        before = arm_named(name, scenario, seed + DAY_BEFORE)
        FleetSimulation(scenario, before, scaling, seed + DAY_BEFORE).run()
        if before.startup is not None:
            arm.startup.go_on_from(before.startup)
    return arm


def variants(scenario: FleetScenario, arm: str) -> list[str]:
    """The arms that ``arm`` is the best of: every K above 0 for ``static:best``, else itself."""
    if arm != "static:best":
        return [arm]
    return [f"static:{k}" for k in scenario.spec.engine.allowed if k > 0]


def first_target(scenario: FleetScenario, arm: str, metric: MetricName) -> float:
    """The scenario's target where it is for this metric, else a usual one."""
    if arm == "oracle":
        return ORACLE_TARGET
    autoscaler = scenario.spec.autoscaler
    return autoscaler.target if autoscaler.metric is metric else DEFAULT_TARGETS[metric]


def tuned(scenario: FleetScenario, arm: str, metric: MetricName, *, seed: int) -> Tuned[FleetRun]:
    """The arm's own target: fewest replica-hours at no more than 1% misses."""

    def at(name: str) -> Tuned[FleetRun]:
        return tune(
            lambda target: run(scenario, name, metric, target, seed=seed, most_misses=HOPELESS_MISSES),
            first_target(scenario, name, metric),
        )

    return best_of([at(name) for name in variants(scenario, arm)])


def best_of(found: Sequence[Tuned[Run]]) -> Tuned[Run]:
    """The variant of fewest replica-hours among those that have a target; the first where none has."""
    return min(found, key=lambda one: one.best.replica_seconds if one.best else float("inf"))
