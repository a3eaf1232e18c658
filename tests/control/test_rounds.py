"""When a round of steps is over."""

import pytest

from tests.control.test_engine_loop import record
from turbospec.control.rounds import ROUND_STEPS, SLOW_ROUND_SECONDS, SLOW_ROUND_STEPS, Rounds


@pytest.mark.parametrize(
    ("steps", "seconds", "over"),
    [
        (ROUND_STEPS - 1, 0.0, False),
        (ROUND_STEPS, 0.0, True),
        (SLOW_ROUND_STEPS, SLOW_ROUND_SECONDS, True),
        (SLOW_ROUND_STEPS - 1, 10 * SLOW_ROUND_SECONDS, False),
        (ROUND_STEPS - 1, 0.9 * SLOW_ROUND_SECONDS, False),
    ],
)
def test_a_round_is_over_after_its_steps_or_if_slow_its_time(steps: int, seconds: float, over: bool) -> None:
    """However slow they are, a few steps prove nothing."""
    rounds = Rounds()
    rounds.add([record(seq) for seq in range(steps)], seconds)
    assert rounds.over is over


def test_a_shortened_round_is_followed_by_one_of_the_usual_length() -> None:
    """What had to be found out soon has been; and nothing is judged twice."""
    rounds = Rounds()
    rounds.shorten(2)
    rounds.add([record(0), record(1)], 0.5)
    assert rounds.over
    records, seconds = rounds.take()
    assert ([each.seq for each in records], seconds) == ([0, 1], 0.5)
    rounds.add([record(2), record(3)], 0.5)
    assert not rounds.over
