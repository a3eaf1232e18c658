"""Means of few values, and how far the truth may be off them."""

import math
from collections.abc import Sequence

import numpy as np

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t for a two-sided 95% interval, from one degree of freedom on."""
T_MORE = 2.12
"""For more than those: a little too wide."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95% interval; infinite for a single value."""
    mean, free = float(np.mean(values)), len(values) - 1
    if not free:
        return mean, math.inf
    factor = T_975[free - 1] if free <= len(T_975) else T_MORE
    return mean, factor * float(np.std(values, ddof=1)) / math.sqrt(len(values))
