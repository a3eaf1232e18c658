"""Arms by name, at one target or a tuned one: what the command and the benchmark run."""

from collections.abc import Callable

from turbospec.simulation.fleet.arms import arm_named
from turbospec.simulation.fleet.files import FleetScenario, MetricName
from turbospec.simulation.fleet.results import FleetRun
from turbospec.simulation.fleet.run import FleetSimulation, Scaling
from turbospec.simulation.fleet.tuning import Tuned, tune

DEFAULT_TARGETS = {
    MetricName.RUNNING_REQUESTS: 20.0,
    MetricName.INTER_TOKEN_LATENCY: 25.0,
    MetricName.KV_CACHE_USAGE: 0.3,
    MetricName.TOKEN_BACKLOG: 4000.0,
    MetricName.OFFERED_LOAD_RATIO: 0.7,
    MetricName.EXPECTED_PODS: 0.9,
}
"""Where tuning begins for metrics that the scenario names no target of."""
ORACLE_TARGET = 0.7
"""Engine seconds of work per second of a replica at which tuning an oracle fleet begins."""

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
) -> FleetRun:
    """One arm of one seed at one target; ``static:best`` is the K above 0 with the fewest misses, then replica-hours.

    ScenarioError for names, engines and loads that cannot be used.
    """
    if arm == "static:best":
        ks = [k for k in scenario.spec.engine.allowed if k > 0]
        found = [
            run(scenario, f"static:{k}", metric, target, seed=seed, progress=progress, keep_moments=keep_moments)
            for k in ks
        ]
        return min(found, key=lambda one: (one.missed, one.replica_seconds))
    made = arm_named(arm, scenario, seed)
    return FleetSimulation(scenario, made, Scaling(metric, target), seed, progress, keep_moments).run()


def first_target(scenario: FleetScenario, arm: str, metric: MetricName) -> float:
    """The scenario's target where it is for this metric, else a usual one."""
    if arm == "oracle":
        return ORACLE_TARGET
    autoscaler = scenario.spec.autoscaler
    return autoscaler.target if autoscaler.metric is metric else DEFAULT_TARGETS[metric]


def tuned(scenario: FleetScenario, arm: str, metric: MetricName, *, seed: int) -> Tuned:
    """The arm's own target: fewest replica-hours at no more than 1% misses."""

    def at(target: float) -> FleetRun:
        return run(scenario, arm, metric, target, seed=seed)

    if arm != "static:best":
        return tune(at, first_target(scenario, arm, metric))
    found = [tuned(scenario, f"static:{k}", metric, seed=seed) for k in scenario.spec.engine.allowed if k > 0]
    held = [one for one in found if one.best is not None]
    return min(held or found, key=lambda one: one.best.replica_seconds if one.best else float("inf"))
