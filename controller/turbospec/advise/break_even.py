"""How well drafts would have to be accepted to pay: what can be said of engines that do not draft."""

import math
from collections.abc import Sequence

import numpy as np

from turbospec.advise.drafting import Moment
from turbospec.advise.replay import UNKNOWN_OUTPUT, Replay, bisected, delivered, mean_lengths
from turbospec.advise.series import Window, moments
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens
from turbospec.control.latency import LatencyModel

PLAIN_RATIO = (0.5, 1.15)
"""Measured over predicted latency of an engine that does not draft, where the profile's has a drafter: holding one
makes an engine 15 to 57% slower at K = 0, and nothing makes it much faster."""
BEST_TEXT = 0.98
"""No text has a higher acceptance at every position."""


class BreakEven:
    """Engines that did not draft, beside the profile of one that can."""

    def __init__(self, windows: Sequence[Window], model: LatencyModel, allowed: Sequence[int]) -> None:
        deepest = max(*allowed, 1)
        _, self._output = mean_lengths(windows) or (1.0, UNKNOWN_OUTPUT)
        estimates = _same(0.5, deepest)
        together = [Moment(found, estimates, (0.0,) * len(found)) for found in moments(windows)]
        self._replay = Replay(together, model, allowed, deepest)
        self.ratios = self._replay.fit_ratios()
        """Measured latency over that of the profile at K = 0, by window."""
        self.ratio = float(np.median(self.ratios))

    @property
    def fits(self) -> bool:
        """Whether the profile can be that of this engine with a drafter."""
        return PLAIN_RATIO[0] <= self.ratio <= PLAIN_RATIO[1]

    def acceptance(self, k: int, error: float) -> float | None:
        """The acceptance, the same at every position, from which on K would have been faster than what ran.

        ``error``: by what share steps may take longer than the profile says; taken against speculation. Rounded up to a
        whole percent; None where no text reaches it.
        """
        needed = self._replay.needed_tokens(k, ratio=self.ratio, error=error)
        if needed is None:
            return None
        found = bisected(lambda a: _delivered(a, k, self._output) / needed, 0.0, BEST_TEXT)
        return None if found is None else math.ceil(found * 100.0) / 100.0


def _delivered(acceptance: float, k: int, output: float) -> float:
    text = _same(acceptance, k)
    return delivered([expected_tokens(text, each) or 1.0 for each in range(k + 1)], output)[k]


def _same(acceptance: float, positions: int) -> tuple[PositionEstimate, ...]:
    return tuple(PositionEstimate(acceptance, None, 0.0) for _ in range(positions))
