"""Looking again at draft lengths that the engine does not use, within a budget of lost time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from turbospec.control.information import Option

BUDGET = 0.01
"""Share of the engine's time that probing may cost; time lost and tokens lost are the same share."""
SAVINGS_SECONDS = 0.6
"""Unspent budget that is kept: a minute's worth, so that a text that has just changed is looked at often at first."""
BURST_SAMPLES = 8
"""Drafts in a burst: enough to tell acceptance 0.05 from 0.5 with 85% certainty, 0.9 always."""
TIMING_STEPS = 6
"""Steps of a burst that asks for a step time: their median is known to 2% at 3% noise, one of them lost at the change
of K."""
MIN_GAP_STEPS = 120
MIN_GAP_SECONDS = 2.0
"""Steps or time between two bursts at one K, whichever is over first: looking costs work as well as time."""
WORTHWHILE_GAIN = 5e-4
"""Expected gains below this are not worth the work of finding out."""
COLD_STEPS = 40
"""Step times' worth of trying that an engine without a profile may spend before it has earned it: about 2% of the
2,000 steps in which it has to find its way."""
BASELINE_AFTER_STEPS = 2000
BASELINE_GAIN = 0.002
BASELINE_CELLS = 4
"""After these steps an engine without a profile lets looking at the smallest K be worth 0.2% of its time, until its
step times are known at four batches and contexts: for its successors, where it would gain nothing by it."""


@dataclass(slots=True)
class Burst:
    """Consecutive steps at one K; over when enough steps were asked for, or the batch has outgrown its price."""

    draft_tokens: int
    batch: int
    steps_left: int
    cost_seconds: float
    """Predicted loss of one step of it."""

    def take(self, batch: int) -> bool:
        """Count one step of this batch in; False when the burst is over."""
        if self.steps_left <= 0 or batch > 2 * self.batch:
            return False
        # A batch that has shrunk brings fewer samples a step: the burst is not made longer for it.
        self.steps_left -= 1
        return True


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What probing has cost: predicted loss in seconds of engine time, out of all measured step time, and in tokens."""

    bursts: int
    spent_seconds: float
    elapsed_seconds: float
    lost_tokens: float = 0.0


class Prober:
    """Decides when a burst is due, and keeps its account.

    For each K that is not used, the gain expected from knowing it is added up over the time it is not looked at: what
    ignorance is expected to have cost so far. When that reaches what a burst costs, the burst is due (the square-root
    rule of optimal inspection where the gain grows with the age of the evidence), and starts if the budget covers it:
    engine time earns 1% of itself as credit.
    """

    def __init__(self) -> None:
        self._credit = SAVINGS_SECONDS / 2
        self._most = SAVINGS_SECONDS
        self._steps = 0
        self._missed: dict[int, float] = {}
        self._last_burst: dict[int, tuple[int, float]] = {}
        self._bursts = 0
        self._spent = 0.0
        self._elapsed = 0.0
        self._tokens = 0.0
        self._tokens_rate = 0.0

    @property
    def steps(self) -> int:
        """Steps accounted for since the start."""
        return self._steps

    def earn(self, seconds: float, steps: int) -> None:
        """Account for so many steps, which took so long (as far as their times are known)."""
        self._steps += steps
        self._elapsed += seconds
        self._credit = min(self._credit + BUDGET * seconds, self._most)

    def lend(self, seconds: float) -> None:
        """Credit ahead of earning."""
        self._most = max(self._most, seconds)
        self._credit = max(self._credit, seconds)

    def consider(
        self, found: Sequence[Option], *, batch: int, seconds: float, tokens_per_second: float
    ) -> Burst | None:
        """A burst if one is due and paid for; ``seconds`` have passed since the last time of asking."""
        best: tuple[float, Option, int] | None = None
        used = {option.draft_tokens for option in found}
        self._missed = {k: missed for k, missed in self._missed.items() if k in used}
        for option in found:
            k = option.draft_tokens
            if option.gain < WORTHWHILE_GAIN:
                continue
            missed = self._missed[k] = self._missed.get(k, 0.0) + option.gain * seconds
            last = self._last_burst.get(k)
            if last is not None and self._steps - last[0] < MIN_GAP_STEPS and self._elapsed - last[1] < MIN_GAP_SECONDS:
                continue
            steps = burst_steps(option, batch)
            price = steps * option.cost_seconds
            if missed < price:
                continue
            # A burst that costs more than is ever saved is saved for, instead of never being had.
            self._most = max(self._most, price)
            if self._credit < price:
                continue
            worth = missed / max(price, 1e-9)
            if best is None or worth > best[0]:
                best = (worth, option, steps)
        if best is None:
            return None
        _, option, steps = best
        self._bursts += 1
        self._missed[option.draft_tokens] = 0.0
        self._last_burst[option.draft_tokens] = self._steps, self._elapsed
        self._tokens_rate = tokens_per_second
        return Burst(option.draft_tokens, batch, steps, option.cost_seconds)

    def charge(self, seconds: float) -> None:
        """Pay for one step of a burst."""
        self._spent += seconds
        self._credit -= seconds
        self._tokens += seconds * self._tokens_rate

    def report(self) -> ProbeReport:
        """The account since the start."""
        return ProbeReport(self._bursts, self._spent, self._elapsed, self._tokens)


def with_baseline(found: Sequence[Option], draft_tokens: int) -> list[Option]:
    """The options, with a look at this K's step time worth something in any case."""
    return [
        replace(one, gain=max(one.gain, BASELINE_GAIN), uncertain_seconds=True)
        if one.draft_tokens == draft_tokens
        else one
        for one in found
    ]


def burst_steps(option: Option, batch: int) -> int:
    """Steps that bring the evidence asked for: enough drafts, or enough timed steps."""
    drafts = math.ceil(BURST_SAMPLES / max(batch, 1))
    return max(drafts, TIMING_STEPS) if option.uncertain_seconds else drafts
