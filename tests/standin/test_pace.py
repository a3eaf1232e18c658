"""Steps take their time, and nothing happens where there is nothing to do."""

import asyncio
import time
from collections.abc import Sequence

from turbospec.standin.pace import LATE_SECONDS, Pace


class Steps:
    """Steps of given lengths (simulated seconds), after which the engine is idle."""

    def __init__(self, lengths: Sequence[float], speed: float, stall: float = 0.0) -> None:
        self.pace = Pace(speed, self._begin, self._complete)
        self.began: list[float | None] = []
        self.completed: list[float] = []
        self.idle = asyncio.Event()
        self._now, self._stall = 0.0, stall
        self._left = list(lengths)

    def _begin(self, idle_until: float | None) -> float | None:
        self.began.append(idle_until)
        if idle_until is not None:
            self._now = idle_until
        if not self._left:
            self.idle.set()
            return None
        self._now += self._left.pop(0)
        return self._now

    def _complete(self) -> None:
        self.completed.append(time.monotonic())
        stall, self._stall = self._stall, 0.0
        time.sleep(stall)  # the process is busy with something else


async def test_steps_follow_each_other_and_then_nothing_happens() -> None:
    """Three steps of 0.4 s at speed 4, each as long as simulated; an idle engine has no timer."""
    steps = Steps([0.4] * 3, speed=4.0)
    begin = time.monotonic()
    steps.pace.wake()
    steps.pace.wake()
    await steps.idle.wait()
    assert [one is None for one in steps.began] == [False, True, True, True]
    assert len(steps.completed) == 3
    assert steps.completed[-1] - begin >= 0.3
    assert not steps.pace.stepping
    timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert not [handle for handle in timers if getattr(handle._callback, "__self__", None) is steps.pace]
    steps.pace.wake()
    steps.idle.clear()
    await steps.idle.wait()
    assert len(steps.began) == 5


async def test_a_process_that_is_behind_lets_the_clock_stand_still() -> None:
    """The second step began late by the stall and still takes its whole time."""
    stall = LATE_SECONDS * 4
    steps = Steps([0.05, 0.05, 0.2], speed=1.0, stall=stall)
    steps.pace.wake()
    await steps.idle.wait()
    first, second, third = steps.completed
    assert second - first >= stall
    assert third - second >= 0.2 - LATE_SECONDS
    assert steps.pace.slipped_seconds > stall - 0.05 - LATE_SECONDS
    assert steps.pace.now() < time.monotonic() - first + 0.05
