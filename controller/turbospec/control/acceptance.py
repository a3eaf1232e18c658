"""How likely a draft token is accepted, and how often there is one, by position in the draft."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from turbospec.control.change import Change, find_change
from turbospec.control.counts import DraftCounts, EventCounts, pool

RECENT_BLOCKS = 16
"""Blocks kept apart from the long memory, each boundary between them a candidate for the moment of a change."""
HALF_LIFE_STEPS = 1000
"""A drafting step counts half as much after this many more: 10-30 s at 10-30 ms. Sudden changes do not wait for it; in
steady text a shorter memory only adds noise (at batch 1, 300 steps are 2.4% of standard error at acceptance 0.5)."""
MAX_SAMPLES = 20000.0
"""Large batches fill the memory sooner: at this many samples the standard error is below 0.004, older only delay."""
PRIOR_MAX_SAMPLES = 50.0
"""Trust region of a prior: it carries a new engine through its first second and is then outweighed."""
KNOWN_SAMPLES = 4.0
"""Samples below which the first position counts as unknown."""
SHAPE_SAMPLES = 30.0
"""Samples at two neighbouring positions below which the difference between them is not learnt."""
SHAPE_WEIGHT = 100.0
"""Samples at which half of a measured difference is believed: at 30 it has a standard error as large as itself."""
INFERENCE_WEIGHT = 4.0
"""Samples that what shallower positions say of a deep one is worth."""
SHAPE_SPREAD = 0.5
"""Standard deviation (log odds) between what shallower positions say of a deep one and the truth: what the published
acceptances by position differ in shape."""
TEXT_SPREAD = 1.0
"""The same between one text and another: acceptances of 0.3 to 0.9, as measured, are four of these apart."""
STALE_STEPS = 2000.0
"""Steps without a sample after which a position is as uncertain as one that was never seen."""


@dataclass(frozen=True, slots=True)
class PositionEstimate:
    """One draft position j (from 0).

    ``acceptance``: chance that the token is accepted, given that it was drafted and all before it were accepted.
    Positions that were not observed are inferred from shallower ones, so it is None only where nothing is known.
    ``draft_yield``: share of the requests asked for a draft longer than j that get one; None where none was asked.
    ``samples``: own evidence, in drafts after forgetting; a prior and inference add nothing to it.
    ``spread``: standard deviation of the acceptance in log odds; it grows while the position is not drafted.
    """

    acceptance: float | None
    draft_yield: float | None
    samples: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Prior:
    """What others have learnt of one position; ``samples`` is the weight it deserves (0: unknown)."""

    acceptance: float
    samples: float


class AcceptanceEstimator:
    """Pooled conditional acceptance and yield by position.

    Every rate is a ratio of sums over samples (never a mean over steps: one step is 1 sample at batch 1 and 256 at
    batch 256). The past fades by a half-life in drafting steps, and is dropped when the last blocks contradict it (a
    test over all positions together). Evidence does not fade while there is no new one, but its ``spread`` grows.
    Not thread-safe.
    """

    def __init__(self, max_draft_tokens: int) -> None:
        if max_draft_tokens < 1:
            raise ValueError(f"max_draft_tokens is {max_draft_tokens}: an engine that never drafts has no acceptance")
        self.max_draft_tokens = max_draft_tokens
        self.changes = 0
        """Changes of text detected since the start."""
        self.ignored = 0
        """Records whose counts contradicted themselves."""
        self._memory = EventCounts.zero(max_draft_tokens)
        self._prior = EventCounts.zero(max_draft_tokens)
        # What was counted before each recent block since the last restart of the counting, and up to now.
        self._sums = [EventCounts.zero(max_draft_tokens)]
        self._steps = 0
        self._last_seen: list[int | None] = [None] * max_draft_tokens
        # logit(acceptance_j) - logit(acceptance_(j-1)): what a position that is not drafted shares with its neighbour.
        self._shape = [0.0] * max_draft_tokens

    def learn(self, records: Sequence[DraftCounts]) -> None:
        """Take in a block of steps at once; changes of text are looked for between blocks.

        Steps without drafts only age the evidence. Contradictory counts are ignored.
        """
        block, ignored = pool(records, self.max_draft_tokens)
        self.ignored += ignored
        self._steps += len(records)
        if block.steps == 0:
            return
        for j in range(self.max_draft_tokens):
            if block.trials[j] > 0:
                self._last_seen[j] = self._steps
        now = _sum(self._sums[-1], block)
        self._sums.append(now)
        past = self._memory if not any(self._prior.trials) else _sum(self._memory, self._prior)
        change = find_change(past, self._sums, self.max_draft_tokens)
        if change is not None:
            self.changes += 1
            self._forget(change)
        elif len(self._sums) > RECENT_BLOCKS + 1:
            before = self._sums.pop(0)
            self._retire(_difference(self._sums[0], before))

    def estimate(self) -> tuple[PositionEstimate, ...]:
        """One estimate per position from all that was learnt."""
        deep = self.max_draft_tokens
        own, prior = self._own(), self._prior
        self._learn_shape(own)
        estimates = []
        acceptance: float | None = None
        draft_yield: float | None = None
        for j in range(deep):
            trials, hits = own.trials[j] + prior.trials[j], own.hits[j] + prior.hits[j]
            acceptance = self._acceptance(j, trials, hits, acceptance)
            asked, drafted = own.trials[deep + j] + prior.trials[deep + j], own.hits[deep + j] + prior.hits[deep + j]
            if asked > 0:
                # One hit on top: a handful of misses does not make a drafter that never finds anything.
                share = (drafted + 1.0) / (asked + 1.0)
                draft_yield = (1.0 if draft_yield is None else draft_yield) * min(1.0, share)
            spread = 0.0 if acceptance is None else self._spread(j, trials, acceptance)
            estimates.append(PositionEstimate(acceptance, draft_yield, own.trials[j], spread))
        return tuple(estimates)

    def set_prior(self, prior: Sequence[Prior]) -> None:
        """Start from what others have learnt: worth at most 50 samples, and nothing once there is own evidence.

        Beyond that only its shape (how acceptance falls with depth) is kept, for positions whose own is not learnt yet.
        Raises ValueError for an acceptance outside [0, 1] or impossible samples; nothing is changed then.
        """
        for j, entry in enumerate(prior):
            if not (0.0 <= entry.acceptance <= 1.0 and 0.0 <= entry.samples < math.inf):
                raise ValueError(f"prior of position {j}: acceptance {entry.acceptance}, samples {entry.samples}")
        own = self._own().trials
        positions = min(len(prior), self.max_draft_tokens)
        for j in range(1, positions):
            if prior[j].samples > 0 and prior[j - 1].samples > 0 and own[j] < SHAPE_SAMPLES:
                self._shape[j] = _logit(prior[j].acceptance) - _logit(prior[j - 1].acceptance)
        if any(own):
            return
        for j in range(positions):
            weight = min(prior[j].samples, PRIOR_MAX_SAMPLES)
            self._prior.trials[j] = weight
            self._prior.hits[j] = weight * prior[j].acceptance

    def staleness(self, position: int) -> int | None:
        """Steps since a draft token at this position was last verified with all before it accepted; None: never."""
        seen = self._last_seen[position]
        return None if seen is None else self._steps - seen

    def save(self) -> dict[str, Any]:
        """All that was learnt, as plain lists and numbers; ``restore`` of it continues as if nothing had happened."""
        return {
            "max_draft_tokens": self.max_draft_tokens,
            "changes": self.changes,
            "ignored": self.ignored,
            "steps": self._steps,
            "memory": asdict(self._memory),
            "prior": asdict(self._prior),
            "sums": [asdict(sums) for sums in self._sums],
            "last_seen": list(self._last_seen),
            "shape": list(self._shape),
        }

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> "AcceptanceEstimator":
        """The estimator that ``save`` described. Raises ValueError where the counts do not fit each other."""
        made = cls(saved["max_draft_tokens"])
        made.changes, made.ignored, made._steps = saved["changes"], saved["ignored"], saved["steps"]
        made._memory, made._prior = EventCounts(**saved["memory"]), EventCounts(**saved["prior"])
        made._sums = [EventCounts(**sums) for sums in saved["sums"]]
        made._last_seen, made._shape = list(saved["last_seen"]), list(saved["shape"])
        for counts in (made._memory, made._prior, *made._sums):
            if len(counts.trials) != len(counts.hits) or len(counts.trials) != 2 * made.max_draft_tokens:
                raise ValueError(f"saved counts are not those of {made.max_draft_tokens} draft positions")
            if not all(0.0 <= h <= n < math.inf for n, h in zip(counts.trials, counts.hits, strict=True)):
                raise ValueError("saved counts have more hits than trials, or impossible values")
        return made

    def _acceptance(self, j: int, trials: float, hits: float, shallower: float | None) -> float | None:
        if j == 0:
            # Half a hit in one trial (Jeffreys) keeps a short run of luck away from 0 and 1.
            return min(1.0, (hits + 0.5) / (trials + 1.0)) if trials >= KNOWN_SAMPLES else None
        if shallower is None:
            return None
        inferred = _sigmoid(_logit(shallower) + self._shape[j])
        return min(1.0, (hits + INFERENCE_WEIGHT * inferred) / (trials + INFERENCE_WEIGHT))

    def _spread(self, j: int, trials: float, acceptance: float) -> float:
        """Binomial error in log odds, on the way back to what is known of any text while there are no samples."""
        widest = TEXT_SPREAD if j == 0 else SHAPE_SPREAD
        seen = self._last_seen[j]
        age = 0 if seen is None else self._steps - seen
        information = trials * max(acceptance * (1.0 - acceptance), 0.01)
        settled = 1.0 / (information + 1.0 / widest**2)
        return min(widest, math.sqrt(settled + widest**2 * age / STALE_STEPS))

    def _retire(self, block: EventCounts) -> None:
        """Move a block into the long memory, where events it brings news of fade."""
        fading = 0.5 ** (block.steps / HALF_LIFE_STEPS)
        memory, prior = self._memory, self._prior
        for i, news in enumerate(block.trials):
            if news > 0:
                prior.trials[i] *= fading
                prior.hits[i] *= fading
                trials = memory.trials[i] * fading + news
                keep = min(1.0, MAX_SAMPLES / trials)
                memory.hits[i] = min(trials, memory.hits[i] * fading + block.hits[i]) * keep
                memory.trials[i] = trials * keep

    def _forget(self, change: Change) -> None:
        """Drop what was counted before the change; a drafter that finds more or less says nothing of acceptance."""
        start = self._sums[change.block]
        # How acceptance falls with depth outlives the text.
        self._learn_shape(_sum(self._memory, _difference(start, self._sums[0])))
        for i in range(change.first, change.last):
            for counts in (self._memory, self._prior):
                counts.trials[i] = counts.hits[i] = 0.0
            for sums in self._sums[: change.block]:
                sums.trials[i], sums.hits[i] = start.trials[i], start.hits[i]
        if change.first == 0:
            del self._sums[: change.block]

    def _own(self) -> EventCounts:
        return _sum(self._memory, _difference(self._sums[-1], self._sums[0]))

    def _learn_shape(self, own: EventCounts) -> None:
        trials, hits = own.trials, own.hits
        for j in range(1, self.max_draft_tokens):
            if trials[j] < SHAPE_SAMPLES or trials[j - 1] < SHAPE_SAMPLES:
                return
            here, before = (hits[j] + 0.5) / (trials[j] + 1.0), (hits[j - 1] + 0.5) / (trials[j - 1] + 1.0)
            self._shape[j] = (_logit(here) - _logit(before)) * trials[j] / (trials[j] + SHAPE_WEIGHT)


def _sum(one: EventCounts, other: EventCounts) -> EventCounts:
    return EventCounts(
        [a + b for a, b in zip(one.trials, other.trials, strict=True)],
        [a + b for a, b in zip(one.hits, other.hits, strict=True)],
        one.steps + other.steps,
    )


def _difference(one: EventCounts, other: EventCounts) -> EventCounts:
    return EventCounts(
        [a - b for a, b in zip(one.trials, other.trials, strict=True)],
        [a - b for a, b in zip(one.hits, other.hits, strict=True)],
        one.steps - other.steps,
    )


def _logit(rate: float) -> float:
    """Log odds, bounded to those of 0.01 and 0.99: beyond, differences between them mean nothing."""
    rate = min(max(rate, 0.01), 0.99)
    return math.log(rate / (1.0 - rate))


def _sigmoid(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-odds))
