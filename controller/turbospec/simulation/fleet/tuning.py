"""The target of an arm's autoscaler: the one with the fewest replica-hours at no more than 1% misses."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MOST_MISSES = 0.01
HOPELESS_MISSES = 0.05
"""A day that has missed so much already is not gone through to its end: that its target is too high is known."""
STEP = 1.25
"""Factor between the first two targets; while both sides of the limit are looked for, steps double."""
CLOSE = 1.015
"""Targets this close need not be told apart. Replica-hours go with the inverse of a target, and arms are compared to
1%."""
FARTHEST = 128.0
"""Looking goes no further than this factor from the target that the scenario names."""


class Judged(Protocol):
    """What tuning needs to know of a run."""

    @property
    def target(self) -> float:
        """What the autoscaler aimed at."""
        ...

    @property
    def miss_share(self) -> float:
        """Of the day's requests."""
        ...

    @property
    def replica_seconds(self) -> float:
        """What it cost."""
        ...


Run = TypeVar("Run", bound=Judged)


@dataclass(frozen=True, slots=True)
class Tuned(Generic[Run]):
    """The target that was found, and all runs that it took. ``target`` is None where every target tried misses more."""

    target: float | None
    runs: tuple[Run, ...]

    @property
    def best(self) -> Run | None:
        """The run at the target."""
        return next((run for run in self.runs if run.target == self.target), None)


def tune(run: Callable[[float], Run], first: float) -> Tuned[Run]:
    """Look for the target from ``first`` on: higher targets mean fewer replicas and more misses."""
    runs: dict[float, Run] = {}

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
    best = min(good, key=lambda found: (found.replica_seconds, found.miss_share), default=None)
    return Tuned(None if best is None else best.target, tuple(sorted(runs.values(), key=lambda found: found.target)))


def _bracket(held: Callable[[float], bool], first: float) -> tuple[float | None, float | None]:
    """A target that holds and a higher one that does not; None for the one that was not found."""
    up, edge, step = held(first), first, STEP
    while True:
        beyond = edge * step if up else edge / step
        if max(beyond / first, first / beyond) > FARTHEST:
            return (edge, None) if up else (None, edge)
        if held(beyond) is not up:
            return (edge, beyond) if up else (beyond, edge)
        edge, step = beyond, step * step
