"""An order of points in which every beginning of the list covers the whole range."""

from collections.abc import Sequence
from math import inf, log2


def farthest_first(points: Sequence[tuple[int, ...]], weights: Sequence[float] = ()) -> list[int]:
    """Indices of ``points``: the smallest point, then always the one farthest from all before it.

    Distance is the sum over the axes of differences of log2(1 + value), because step times change with proportions of
    batch and context rather than with their differences; each axis counts by its weight, 1 where none are given. Ties
    go to the earlier point. Values are not negative.
    """
    places = [
        tuple(weight * log2(1 + axis) for axis, weight in zip(point, weights or [1.0] * len(point), strict=True))
        for point in points
    ]
    distance = [inf] * len(points)
    remaining = sorted(range(len(points)), key=points.__getitem__)
    order: list[int] = []
    while remaining:
        chosen = remaining[0] if not order else max(remaining, key=distance.__getitem__)
        remaining.remove(chosen)
        order.append(chosen)
        for index in remaining:
            apart = sum(abs(a - b) for a, b in zip(places[index], places[chosen], strict=True))
            distance[index] = min(distance[index], apart)
    return order
