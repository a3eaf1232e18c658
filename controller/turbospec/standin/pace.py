"""Runs the steps of one simulated engine at the pace of the clock."""

import asyncio
from collections.abc import Callable

LATE_SECONDS = 0.1
"""A process that is behind by more lets the engine's clock stand still instead: engines are then slower than their file
says, but no step is longer than simulated and none is skipped."""


class Pace:
    """Calls ``begin`` when a step may begin and ``complete`` when it has taken its time. An idle engine has no timer.

    ``begin(now)`` gets the simulated time where the engine has been idle, None where it goes on, and returns when its
    step ends (simulated seconds); None means that there is nothing to do.
    """

    def __init__(
        self, speed: float, begin: Callable[[float | None], float | None], complete: Callable[[], None]
    ) -> None:
        """``speed``: simulated seconds per second. The clock starts now."""
        self._loop = asyncio.get_running_loop()
        self._speed = speed
        self._begin = begin
        self._complete = complete
        self._origin = self._loop.time()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self.stepping = False
        """Whether a step has begun and not completed."""
        self.slipped_seconds = 0.0
        """How long the clock has stood still because the process was too slow."""

    def now(self) -> float:
        """Simulated seconds since the start."""
        return (self._loop.time() - self._origin) * self._speed

    def wake(self) -> None:
        """There is work. What arrives in the same round of the event loop begins in the same step."""
        if self._timer is None:
            self._timer = self._loop.call_soon(self._wake)

    def stop(self) -> None:
        """No step begins or completes any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._schedule(self._begin(self.now()))

    def _arrive(self) -> None:
        late = self._loop.time() - self._due
        if late > LATE_SECONDS:
            self._origin += late
            self.slipped_seconds += late
        self._complete()
        self._schedule(self._begin(None))

    def _schedule(self, ends: float | None) -> None:
        self.stepping = ends is not None
        if ends is None:
            self._timer = None
            return
        self._due = self._origin + ends / self._speed
        self._timer = self._loop.call_at(self._due, self._arrive)
