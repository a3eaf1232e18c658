"""Looking again at draft lengths that the engine does not use, within a budget of lost time."""

from dataclasses import dataclass

BUDGET = 0.01
"""Share of the engine's time that probing may cost."""
SAVINGS_SECONDS = 0.6
"""Unspent budget that is kept: a minute's worth, so that a text that has just changed is looked at often at first."""
BURST_SAMPLES = 8
"""Drafts in a burst: enough to tell acceptance 0.05 from 0.5 with 85% certainty, 0.9 always."""
MIN_GAP_STEPS = 60
"""Steps between bursts at K = 0, where nothing is known of the text: about 1.5 s at 25 ms."""
DEEP_GAP_STEPS = 1000
"""Steps without evidence at the next deeper position before it is looked at: shallower ones report changes of text."""


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
        self._bursts = 0
        self._spent = 0.0
        self._elapsed = 0.0

    def earn(self, seconds: float) -> None:
        """Account for one step's time."""
        self._elapsed += seconds
        self._credit = min(self._credit + BUDGET * seconds, SAVINGS_SECONDS)

    def plan(
        self, *, draft_tokens: int, batch: int, stale_steps: int | None, gap_steps: int, cost_seconds: float
    ) -> Burst | None:
        """A burst at this K if one is due and paid for.

        ``stale_steps`` is the age of the evidence (None: there is none); ``cost_seconds`` the predicted loss of one
        step of probing.
        """
        samples = BURST_SAMPLES
        steps = -(-samples // max(batch, 1))
        if stale_steps is None:
            if self._credit <= 0:
                return None
        elif stale_steps < gap_steps or self._credit < steps * cost_seconds:
            return None
        self._bursts += 1
        return Burst(draft_tokens, batch, samples, cost_seconds)

    def charge(self, seconds: float) -> None:
        """Pay for one step of a burst."""
        self._spent += seconds
        self._credit -= seconds

    def report(self) -> ProbeReport:
        """The account since the start."""
        return ProbeReport(self._bursts, self._spent, self._elapsed)
