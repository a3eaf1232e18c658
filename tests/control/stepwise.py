"""Step-by-step feeding of an acceptance estimator, which itself takes blocks of steps."""

from collections.abc import Iterable

from turbospec.control.acceptance import AcceptanceEstimator
from turbospec.control.counts import DraftCounts

BLOCK_STEPS = 10
"""Smaller than the engine loop's blocks, so that a hundred steps already hold many moments of change."""


def feed(estimator: AcceptanceEstimator, records: Iterable[DraftCounts]) -> None:
    """All steps in their order, in blocks of ten; the last block holds the rest."""
    steps = list(records)
    for start in range(0, len(steps), BLOCK_STEPS):
        estimator.learn(steps[start : start + BLOCK_STEPS])
