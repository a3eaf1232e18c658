"""Rates from the load generator's totals."""

import pytest

from e2e.load.driver import Figures, token_rate


def figures(*totals: tuple[float, int]) -> list[Figures]:
    return [Figures(at, {"a": tokens // 2, "b": tokens - tokens // 2}, 0, 0, None) for at, tokens in totals]


HISTORY = figures((0, 0), (1, 100), (2, 300), (3, 300), (4, 700))


@pytest.mark.parametrize(
    ("begin", "end", "rate"),
    [(0, 5, 175), (0.5, 4.5, 200), (1, 3.5, 100), (2, 3.5, 0), (1.5, 2.5, None), (9, 10, None)],
)
def test_the_rate_is_that_between_the_figures_inside_the_window(begin: float, end: float, rate: float | None) -> None:
    """No interpolation, and None where fewer than two figures lie inside."""
    assert token_rate(HISTORY, begin, end) == (None if rate is None else pytest.approx(rate))
