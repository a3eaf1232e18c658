"""What engines did while the dashboard was open: a bounded memory of the looks at them. Pure."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_MOMENTS = 360
"""Half an hour of looks, one each five seconds."""
MOST_POINTS = 100_000
"""Engines times moments: some 20 MB. Of very many engines a shorter past is kept."""

Key = tuple[str, str, str]
"""Namespace, policy, pod: a pod that two policies select stands in the statuses of both."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One engine at one moment; None where it is not known."""

    draft_tokens: int | None = None
    measured: int | None = None
    """Tokens per second that were delivered."""
    predicted: int | None = None
    """Tokens per second that the engine expected of its K."""


NOTHING = Figures()


@dataclass(frozen=True, slots=True)
class Moment:
    """Every engine at one time, in seconds of whatever clock the caller has."""

    at: float
    engines: Mapping[Key, Figures]


class History:
    """Moments, oldest first; the oldest go when there are too many."""

    def __init__(self, most_moments: int = MOST_MOMENTS, most_points: int = MOST_POINTS) -> None:
        self._moments: deque[Moment] = deque(maxlen=most_moments)
        self._most_points = most_points

    def add(self, at: float, rows: Sequence[Mapping[str, Any]]) -> None:
        """Remember the engines of one look."""
        self._moments.append(Moment(at, {key_of(row): figures_of(row) for row in rows}))
        while len(self._moments) > 1 and sum(len(each.engines) for each in self._moments) > self._most_points:
            self._moments.popleft()

    @property
    def moments(self) -> tuple[Moment, ...]:
        """A copy, which does not change any more."""
        return tuple(self._moments)


def key_of(row: Mapping[str, Any]) -> Key:
    """Whose row it is."""
    return row["namespace"], row["policy"], row["pod"]


def figures_of(row: Mapping[str, Any]) -> Figures:
    """What of a row is remembered."""
    return Figures(row["draftTokens"], row["tokensPerSecond"], row["predictedTokensPerSecond"])


def of_engine(moments: Sequence[Moment], key: Key) -> list[tuple[float, Figures]]:
    """One engine's past; moments at which it was not there have no figures."""
    return [(each.at, each.engines.get(key, NOTHING)) for each in moments]


def of_all(moments: Sequence[Moment]) -> list[tuple[float, Figures]]:
    """Tokens per second of all engines together, those of engines for which both figures are known.

    Sums of different engines cannot be compared: an engine of which one of the two is missing is left out of both.
    """
    summed = []
    for moment in moments:
        both = [
            (each.measured, each.predicted)
            for each in moment.engines.values()
            if each.measured is not None and each.predicted is not None
        ]
        if both:
            summed.append((moment.at, Figures(None, sum(one for one, _ in both), sum(other for _, other in both))))
        else:
            summed.append((moment.at, NOTHING))
    return summed
