"""When steps whose text is known are judged together: step times learnt, another table or a probe considered."""

from collections.abc import Sequence

from turbospec.control.step import StepRecord

ROUND_STEPS = 128
"""Steps of a round; it ends at once when the text has changed. Text changes matter within steps, clocks and batches do
not: the table holds all batches."""
SLOW_ROUND_STEPS = 16
SLOW_ROUND_SECONDS = 3.0
"""Where steps are slow a round does not wait for all of them: so many steps and so much time suffice."""


class Rounds:
    """Collects steps until their round is over. Not thread-safe."""

    def __init__(self) -> None:
        self._records: list[StepRecord] = []
        self._seconds = 0.0
        self._steps = ROUND_STEPS

    def add(self, records: Sequence[StepRecord], seconds: float) -> None:
        """A block of steps that took so long, as far as their times are known."""
        self._records.extend(records)
        self._seconds += seconds

    @property
    def over(self) -> bool:
        """Whether what was added makes a round."""
        steps = len(self._records)
        return steps >= self._steps or (steps >= SLOW_ROUND_STEPS and self._seconds >= SLOW_ROUND_SECONDS)

    def take(self) -> tuple[list[StepRecord], float]:
        """The steps of this round and their seconds; the next one begins, of the usual length."""
        taken = self._records, self._seconds
        self._records, self._seconds, self._steps = [], 0.0, ROUND_STEPS
        return taken

    def shorten(self, steps: int) -> None:
        """Let this round end after so many steps: something is to be found out soon."""
        self._steps = steps
