"""Which K were left a moment ago."""

import pytest

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens
from turbospec.control.recent import RECENT_SECONDS, SETTLED_SECONDS, LeftLately


def text(acceptance: float | None) -> tuple[PositionEstimate, ...]:
    return (PositionEstimate(acceptance, 1.0, 500.0),) * 3


def settled(before: float = SETTLED_SECONDS) -> LeftLately:
    """Of an engine that began so long before 100.0."""
    left = LeftLately()
    assert left.at(100.0 - before, text(None), 3) == set()
    return left


@pytest.mark.parametrize(
    ("seconds", "acceptance", "recent"),
    [
        (1.0, 0.6, {1}),
        (RECENT_SECONDS - 1.0, 0.6, {1}),
        (RECENT_SECONDS, 0.6, set()),
        (1.0, 0.65, {1}),
        (1.0, 0.8, set()),
        (1.0, 0.3, set()),
        (1.0, None, set()),
    ],
    ids=["just now", "a while ago", "long ago", "other requests", "easier text", "harder text", "nothing is known"],
)
def test_a_k_was_left_lately_while_the_text_is_the_same(
    seconds: float, acceptance: float | None, recent: set[int]
) -> None:
    """Of text of acceptance 0.6."""
    left = settled()
    left.leave(1, 100.0, expected_tokens(text(0.6), 3))
    assert left.at(100.0 + seconds, text(acceptance), 3) == recent
    left.forget()
    assert left.at(100.0 + seconds, text(acceptance), 3) == set()


def test_a_k_that_was_left_before_anything_was_known_may_come() -> None:
    left = settled()
    left.leave(1, 100.0, None)
    assert left.at(101.0, text(0.6), 3) == set()


@pytest.mark.parametrize(("informed", "recent"), [(False, set()), (True, {1})])
def test_what_an_engine_leaves_in_its_first_minutes_may_come_back(informed: bool, recent: set[int]) -> None:
    """It knew little of the text then, unless it was told."""
    left = settled(SETTLED_SECONDS - 1.0)
    left.informed = informed
    left.leave(1, 100.0, expected_tokens(text(0.6), 3))
    assert left.at(101.0, text(0.6), 3) == recent
