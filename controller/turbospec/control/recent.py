"""Which K were left a moment ago, and should not come back for little."""

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens

RECENT_SECONDS = 120.0
"""Requests of one text differ, and a batch holds some tens of them for seconds: what their mean says is right for them
and not for the next ones. Two minutes hold many batches."""
RECENT_TEXT = 0.15
"""Another text gives so many more or fewer tokens per step; batches of 50 requests of one text differ by half of it."""


class LeftLately:
    """When each K was left, by the clock of the steps, and what text gave then."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[float, float | None]] = {}

    def leave(self, draft_tokens: int, seconds: float, tokens: float | None) -> None:
        """This K was in force until now; ``tokens`` per step are expected of the longest draft."""
        self._left[draft_tokens] = seconds, tokens

    def forget(self) -> None:
        """What spoke against them does so no more."""
        self._left.clear()

    def at(self, seconds: float, estimates: tuple[PositionEstimate, ...], longest: int) -> set[int]:
        """Those that were left within ``RECENT_SECONDS``, for text that was much the same."""
        now = expected_tokens(estimates, longest)
        return {
            k
            for k, (when, then) in self._left.items()
            if seconds - when < RECENT_SECONDS and now and then and abs(now - then) <= RECENT_TEXT * then
        }
