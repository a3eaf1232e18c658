"""Which K were left a moment ago, and should not come back for little."""

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens

RECENT_SECONDS = 130.0
"""Requests of one text differ, and a batch holds some tens of them for seconds: what their mean says is right for them
and not for the next ones. Two minutes hold many batches; the rest is what a decision takes. However much a K promises
that was left meanwhile, going to and fro is what autoscalers and people see."""
SETTLED_SECONDS = 120.0
"""What an engine leaves before so much time has passed, it leaves knowing little of the text. Held to that, five of 504
steady points of the control benchmark ran up to 4% below the best K for two minutes."""
RECENT_TEXT = 0.15
"""Another text gives so many more or fewer tokens per step; batches of 50 requests of one text differ by half of it."""


class LeftLately:
    """When each K was left, by the clock of the steps, and what text gave then."""

    def __init__(self) -> None:
        self.informed = False
        """Whether the engine was told step times and text before it served: then its first minutes are like any."""
        self._left: dict[int, tuple[float, float | None]] = {}
        self._began: float | None = None

    def leave(self, draft_tokens: int, seconds: float, tokens: float | None) -> None:
        """This K was in force until now; ``tokens`` per step are expected of the longest draft.

        Of no account within ``SETTLED_SECONDS`` of the first call of ``at``, unless ``informed``.
        """
        if self._began is not None and (self.informed or seconds - self._began >= SETTLED_SECONDS):
            self._left[draft_tokens] = seconds, tokens

    def forget(self) -> None:
        """What spoke against them does so no more."""
        self._left.clear()

    def at(self, seconds: float, estimates: tuple[PositionEstimate, ...], longest: int) -> set[int]:
        """Those that were left within ``RECENT_SECONDS``, for text that was much the same."""
        if self._began is None:
            self._began = seconds
        now = expected_tokens(estimates, longest)
        return {
            k
            for k, (when, then) in self._left.items()
            if seconds - when < RECENT_SECONDS and now and then and abs(now - then) <= RECENT_TEXT * then
        }
