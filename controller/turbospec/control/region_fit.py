"""Whether the latency model still fits the engine: measured over predicted step time by region of batch sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

OFF_FACTOR = 4.0 / 3.0
"""Measured over predicted (or the inverse) from which on a region is off its model. Interpolated cells err by up to
14%, clocks and neighbours by 20%; another kind of hardware, or half of the CPUs, by 60% and more."""
FEWEST_RATIOS = 3
"""Steps below which a block's median may be one that was held up."""
BLOCK_WEIGHT = 0.25
"""Weight of a block of up to 12 steps in what is reported: the last 50 steps or so, whose mean is known to 0.5% at 3%
noise."""


@dataclass(frozen=True, slots=True)
class RegionFit:
    """Batches from ``batch`` to below twice that: median of measured / predicted step time lately.

    ``steps`` were compared since the model came into force; ``off`` says that the last blocks agree that the ratio is
    beyond ``OFF_FACTOR``.
    """

    batch: int
    ratio: float
    steps: int
    off: bool


@dataclass(slots=True)
class _Region:
    """``side`` is what holds, ``doubt`` the other side that the last block was on, if it was on another."""

    ratio: float
    steps: int = 0
    side: int = 0
    doubt: int | None = None


class RegionMonitor:
    """Collects blocks of ratios. Not thread-safe, but ``regions`` may be read from any thread."""

    def __init__(self) -> None:
        self._regions: dict[int, _Region] = {}
        self._last: _Region | None = None

    def observe(self, batch: float, ratios: Sequence[float]) -> None:
        """Steps of about ``batch`` >= 1 requests at one K: measured / predicted of each; too few are left out."""
        if len(ratios) < FEWEST_RATIOS:
            return
        typical = median(ratios)
        octave = int(math.log2(max(batch, 1.0)))
        region = self._regions.get(octave)
        if region is None:
            region = self._regions[octave] = _Region(typical)
        region.ratio += BLOCK_WEIGHT * (typical - region.ratio)
        region.steps += len(ratios)
        side = off_side(typical)
        if side == region.side:
            region.doubt = None
        elif side == region.doubt:
            # Two in a row: one may be a hiccup. What was before is another engine, or model, and no part of the mean.
            region.side, region.doubt, region.ratio = side, None, typical
        else:
            region.doubt = side
        self._last = region

    @property
    def off(self) -> bool:
        """The region that was seen last is off its model."""
        return self._last is not None and self._last.side != 0

    @property
    def doubtful(self) -> bool:
        """A block disagrees with what is said of its region: the next one tells."""
        return self._last is not None and self._last.doubt is not None

    def regions(self) -> tuple[RegionFit, ...]:
        """Every region that was seen, by rising batch."""
        found = sorted(self._regions.copy().items())
        return tuple(RegionFit(1 << octave, one.ratio, one.steps, one.side != 0) for octave, one in found)


def off_side(ratio: float) -> int:
    """1 where measured is off to the long side, -1 to the short side, 0 where it agrees."""
    if ratio > OFF_FACTOR:
        return 1
    return -1 if ratio < 1.0 / OFF_FACTOR else 0
