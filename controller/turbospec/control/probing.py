"""Looking again at draft lengths that the engine does not use, within a budget of lost time."""

from dataclasses import dataclass

BUDGET = 0.01
"""Share of the engine's time that probing may cost."""
SAVINGS_SECONDS = 0.6
"""Unspent budget that is kept: a minute's worth, so that a text that has just changed is looked at often at first."""
BURST_SAMPLES = 8
"""Drafts in a burst: enough to tell acceptance 0.05 from 0.5 with 85% certainty, 0.9 always."""
MIN_GAP_SECONDS = 1.5
"""Time between bursts at K = 0, where nothing is known of the text."""
DEEP_GAP_SECONDS = 20.0
"""Time without evidence at the next deeper position before it is looked at: shallower ones report changes of text."""


@dataclass(slots=True)
class Burst:
    """Consecutive steps at one K; over when enough drafts were asked for, or the batch has outgrown its price."""

    draft_tokens: int
    batch: int
    samples_left: int
    cost_seconds: float
    """Predicted loss of one step of it."""

    def take(self, batch: int) -> bool:
        """Count one step of this batch in; False when the burst is over."""
        if self.samples_left <= 0 or batch > 2 * self.batch:
            return False
        self.samples_left -= batch
        return True


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What probing has cost: predicted loss in seconds of engine time, out of all measured step time."""

    bursts: int
    spent_seconds: float
    elapsed_seconds: float


class Prober:
    """Decides when a burst is due, and keeps its account.

    Engine time earns 1% of itself as credit; a burst starts when the evidence is old and the credit covers its
    predicted loss. So frequency follows cost: cheap looks (small batch, little drafting cost) come every second or two,
    dear ones rarely. The first look at a text of which nothing is known may be bought on credit.
    """

    def __init__(self) -> None:
        self._credit = SAVINGS_SECONDS / 2
        self._most = SAVINGS_SECONDS
        self._steps = 0
        self._last_burst: dict[int, int] = {}
        self._bursts = 0
        self._spent = 0.0
        self._elapsed = 0.0

    def earn(self, seconds: float | None) -> None:
        """Account for one step, and for its time where it is known."""
        self._steps += 1
        if seconds is None:
            return
        self._elapsed += seconds
        self._credit = min(self._credit + BUDGET * seconds, self._most)

    def plan(
        self, *, draft_tokens: int, batch: int, stale_steps: int | None, gap_steps: int, cost_seconds: float
    ) -> Burst | None:
        """A burst at this K if one is due and paid for.

        ``stale_steps`` is the age of the evidence (None: there never was any); ``cost_seconds`` the predicted loss of
        one step of probing. A burst that brought no evidence (no drafts found) is not repeated before the gap is over.
        """
        last = self._last_burst.get(draft_tokens)
        if (stale_steps is not None and stale_steps < gap_steps) or (
            last is not None and self._steps - last < gap_steps
        ):
            return None
        steps = -(-BURST_SAMPLES // max(batch, 1))
        needed = 0.0 if last is None and stale_steps is None else steps * cost_seconds
        # A burst that costs more than is ever saved is saved for, instead of never being had.
        self._most = max(SAVINGS_SECONDS, needed)
        if self._credit < needed:
            return None
        self._bursts += 1
        self._last_burst[draft_tokens] = self._steps
        return Burst(draft_tokens, batch, BURST_SAMPLES, cost_seconds)

    def charge(self, seconds: float) -> None:
        """Pay for one step of a burst."""
        self._spent += seconds
        self._credit -= seconds

    def report(self) -> ProbeReport:
        """The account since the start."""
        return ProbeReport(self._bursts, self._spent, self._elapsed)
