"""The target of an arm's autoscaler: the one with the fewest replica-hours at no more than 1% misses."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from turbospec.simulation.fleet.results import FleetRun

MOST_MISSES = 0.01
STEP = 1.5
"""Factor between targets while both sides of the limit are looked for."""
CLOSE = 1.06
"""Targets this close need not be told apart: the autoscaler's own tolerance is 10%."""
MOST_STEPS = 12
"""Looking goes no further than STEP to this power from the target that the scenario names."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The target that was found, and all runs that it took. ``target`` is None where every target tried misses more."""

    target: float | None
    runs: tuple[FleetRun, ...]

    @property
    def best(self) -> FleetRun | None:
        """The run at the target."""
        return next((run for run in self.runs if run.target == self.target), None)


def tune(run: Callable[[float], FleetRun], first: float) -> Tuned:
    """Look for the target from ``first`` on: higher targets mean fewer replicas and more misses."""
    runs: dict[float, FleetRun] = {}

    def held(target: float) -> bool:
        found = runs.get(target)
        if found is None:
            found = runs[target] = run(target)
        return found.miss_share <= MOST_MISSES

    low, high = _bracket(held, first)
    while low is not None and high is not None and high / low > CLOSE:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if held(middle) else (low, middle)
    good = [found for found in runs.values() if found.miss_share <= MOST_MISSES]
    best = min(good, key=lambda found: (found.replica_seconds, found.missed), default=None)
    return Tuned(None if best is None else best.target, tuple(sorted(runs.values(), key=lambda found: found.target)))


def _bracket(held: Callable[[float], bool], first: float) -> tuple[float | None, float | None]:
    """A target that holds and one STEP above it that does not; None for the one that was not found."""
    if held(first):
        low = first
        for _ in range(MOST_STEPS):
            if not held(low * STEP):
                return low, low * STEP
            low *= STEP
        return low, None
    high = first
    for _ in range(MOST_STEPS):
        if held(high / STEP):
            return high / STEP, high
        high /= STEP
    return None, high
