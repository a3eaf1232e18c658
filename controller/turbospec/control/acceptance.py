"""How likely a draft token is accepted, and how often there is one, by position in the draft."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from turbospec.control.latency_fit import Floats

BLOCK_STEPS = 10
"""Drafting steps that are folded into the memory together; also the resolution of change detection."""
RECENT_BLOCKS = 8
"""Blocks kept apart from the long memory, each boundary between them a candidate for the moment of a change."""
HALF_LIFE_STEPS = 300
"""A drafting step counts half as much after this many more: 3-9 s at 10-30 ms. Sudden changes do not wait for it."""
MAX_SAMPLES = 4000.0
"""Large batches fill the memory sooner: at this many samples the standard error is below 0.01, older only delay."""
CHANGE_THRESHOLD = 4.0
"""Standard errors between past and recent blocks that count as a change of text; by chance about once in hours."""
CHANGE_MIN_SAMPLES = 6.0
"""Samples after a change that can show it; one probe burst must be able to."""
CHANGE_MIN_PAST = 20.0
"""Samples before it: fewer have no rate that could be contradicted."""
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


@dataclass(frozen=True, slots=True)
class PositionEstimate:
    """One draft position j (from 0).

    ``acceptance``: chance that the token is accepted, given that it was drafted and all before it were accepted.
    Positions that were not observed are inferred from shallower ones, so it is None only where nothing is known.
    ``draft_yield``: share of the requests asked for a draft longer than j that get one; None where none was asked.
    ``samples``: own evidence, in drafts after forgetting; a prior and inference add nothing to it.
    """

    acceptance: float | None
    draft_yield: float | None
    samples: float


@dataclass(frozen=True, slots=True)
class Prior:
    """What others have learnt of one position; ``samples`` is the weight it deserves (0: unknown)."""

    acceptance: float
    samples: float


class DraftCounts(Protocol):
    """The part of a StepRecord that acceptance is learnt from."""

    @property
    def asked_draft_tokens(self) -> int: ...
    @property
    def drafting_requests(self) -> int: ...
    @property
    def drafted_per_position(self) -> tuple[int, ...]: ...
    @property
    def accepted_per_position(self) -> tuple[int, ...]: ...


@dataclass(slots=True)
class _Counts:
    """Trials and hits of 2P events: index j is acceptance at position j, P + j is a draft going on to position j."""

    trials: Floats
    hits: Floats
    steps: int = 0

    @classmethod
    def zero(cls, events: int) -> "_Counts":
        return cls(np.zeros(events), np.zeros(events))


class AcceptanceEstimator:
    """Pooled conditional acceptance and yield by position.

    Every rate is a ratio of sums over samples (never a mean over steps: one step is 1 sample at batch 1 and 256 at
    batch 256). Trials at position j are the requests accepted through j - 1 that had a draft token at j; where yields
    differ by position only the two separate counts are known, so accepted_(j-1) is scaled by drafted_j / drafted_(j-1).

    The past fades by a half-life in drafting steps, and is dropped when the last blocks contradict it (a test over all
    positions together). Evidence does not fade while there is no new one: look at ``staleness`` for its age.
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
        events = 2 * max_draft_tokens
        self._memory = _Counts.zero(events)
        self._prior = _Counts.zero(events)
        self._recent: list[_Counts] = []
        self._trials = [0.0] * events
        self._hits = [0.0] * events
        self._block_steps = 0
        self._records = 0
        self._last_seen: list[int | None] = [None] * max_draft_tokens
        # logit(acceptance_j) - logit(acceptance_(j-1)): what a position that is not drafted shares with its neighbour.
        self._shape = [0.0] * max_draft_tokens

    def observe(self, record: DraftCounts) -> None:
        """Take in one step; steps without drafts only age the evidence. Contradictory counts are ignored."""
        self._records += 1
        asked = min(record.asked_draft_tokens, self.max_draft_tokens)
        drafted, accepted = record.drafted_per_position, record.accepted_per_position
        if not asked > 0:
            return
        if not _plausible(drafted, accepted, asked):
            self.ignored += 1
            return
        self._add(drafted, accepted, asked, record.drafting_requests)
        self._block_steps += 1
        if self._block_steps >= BLOCK_STEPS:
            self.fold()

    def _add(self, drafted: tuple[int, ...], accepted: tuple[int, ...], asked: int, requests: int) -> None:
        trials, hits, last_seen = self._trials, self._hits, self._last_seen
        deep = self.max_draft_tokens
        # An engine that does not count the requests it asked leaves the yield unknown.
        asked_before = float(requests) if requests >= drafted[0] else 0.0
        reached = float(drafted[0])
        for j in range(asked):
            d = drafted[j]
            if asked_before > 0:
                trials[deep + j] += asked_before
                hits[deep + j] += d
            if d == 0:
                return
            if j > 0:
                reached = accepted[j - 1] * d / drafted[j - 1]
            if reached > 0:
                trials[j] += reached
                hits[j] += accepted[j]
                last_seen[j] = self._records
            asked_before = float(d)

    def fold(self) -> None:
        """Close the current block: test for a change, forget, learn the shape. ``observe`` does it every ten steps."""
        if self._block_steps == 0:
            return
        self._recent.append(_Counts(np.array(self._trials), np.array(self._hits), self._block_steps))
        self._trials = [0.0] * len(self._trials)
        self._hits = [0.0] * len(self._hits)
        self._block_steps = 0
        change = self._change()
        if change is not None:
            self.changes += 1
            self._memory = _Counts.zero(len(self._trials))
            self._prior = _Counts.zero(len(self._trials))
            del self._recent[:change]
        elif len(self._recent) > RECENT_BLOCKS:
            self._retire(self._recent.pop(0))
        self._learn_shape()

    def estimate(self) -> tuple[PositionEstimate, ...]:
        """One estimate per position, the current block included."""
        deep = self.max_draft_tokens
        own = self._own()
        trials = (own.trials + self._prior.trials).tolist()
        hits = (own.hits + self._prior.hits).tolist()
        samples = own.trials.tolist()
        estimates = []
        acceptance: float | None = None
        draft_yield: float | None = None
        for j in range(deep):
            acceptance = self._acceptance(j, trials[j], hits[j], acceptance)
            asked, drafted = trials[deep + j], hits[deep + j]
            if asked > 0:
                draft_yield = (1.0 if draft_yield is None else draft_yield) * min(1.0, drafted / asked)
            estimates.append(PositionEstimate(acceptance, draft_yield, samples[j]))
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
        if own.any():
            return
        for j in range(positions):
            weight = min(prior[j].samples, PRIOR_MAX_SAMPLES)
            self._prior.trials[j] = weight
            self._prior.hits[j] = weight * prior[j].acceptance

    def staleness(self, position: int) -> int | None:
        """Steps since a draft token at this position was last verified with all before it accepted; None: never."""
        seen = self._last_seen[position]
        return None if seen is None else self._records - seen

    def _acceptance(self, j: int, trials: float, hits: float, shallower: float | None) -> float | None:
        if j == 0:
            # Half a hit in one trial (Jeffreys) keeps a short run of luck away from 0 and 1.
            return min(1.0, (hits + 0.5) / (trials + 1.0)) if trials >= KNOWN_SAMPLES else None
        if shallower is None:
            return None
        inferred = _sigmoid(_logit(shallower) + self._shape[j])
        return min(1.0, (hits + INFERENCE_WEIGHT * inferred) / (trials + INFERENCE_WEIGHT))

    def _own(self) -> _Counts:
        total = _Counts(self._memory.trials + self._trials, self._memory.hits + self._hits)
        for block in self._recent:
            total.trials += block.trials
            total.hits += block.hits
        return total

    def _retire(self, block: _Counts) -> None:
        """Move a block into the long memory, where events it brings news of fade."""
        fading = 0.5 ** (block.steps / HALF_LIFE_STEPS)
        news = block.trials > 0
        for counts in (self._memory, self._prior):
            counts.trials[news] *= fading
            counts.hits[news] *= fading
        self._memory.trials += block.trials
        self._memory.hits += block.hits
        excess = np.minimum(1.0, MAX_SAMPLES / np.maximum(self._memory.trials, 1.0))
        self._memory.trials *= excess
        self._memory.hits *= excess

    def _change(self) -> int | None:
        """Index of the recent block that begins something new, or None.

        For every boundary: hits after it against those expected from before it, summed over positions (a change of text
        moves all of them the same way), in standard errors; acceptance and yield apart.
        """
        trials = np.stack([block.trials for block in self._recent])
        hits = np.stack([block.hits for block in self._recent])
        # Row i: everything before block i, and everything from block i on.
        before_trials = np.cumsum(trials, axis=0) - trials + self._memory.trials + self._prior.trials
        before_hits = np.cumsum(hits, axis=0) - hits + self._memory.hits + self._prior.hits
        after_trials = np.cumsum(trials[::-1], axis=0)[::-1]
        after_hits = np.cumsum(hits[::-1], axis=0)[::-1]
        after_trials = np.where(before_trials >= CHANGE_MIN_PAST, after_trials, 0.0)
        rate = (before_hits + 0.5) / (before_trials + 1.0)
        # Near 0 and 1 the normal approximation calls single surprises changes: never below the variance at 0.05.
        bounded = np.clip(rate, 0.05, 0.95)
        variance = after_trials * bounded * (1.0 - bounded) * (1.0 + after_trials / np.maximum(before_trials, 1.0))
        surprise = np.where(after_trials > 0, after_hits - after_trials * rate, 0.0)
        parts = (len(self._recent), 2, self.max_draft_tokens)
        enough = after_trials.reshape(parts).sum(axis=2) >= CHANGE_MIN_SAMPLES
        total_surprise, total_variance = surprise.reshape(parts).sum(axis=2), variance.reshape(parts).sum(axis=2)
        scores = np.where(enough, np.abs(total_surprise) / np.sqrt(np.maximum(total_variance, 1e-9)), 0.0).max(axis=1)
        best = int(scores.argmax())
        return best if scores[best] > CHANGE_THRESHOLD else None

    def _learn_shape(self) -> None:
        own = self._own()
        trials, hits = own.trials.tolist(), own.hits.tolist()
        for j in range(1, self.max_draft_tokens):
            if trials[j] < SHAPE_SAMPLES or trials[j - 1] < SHAPE_SAMPLES:
                return
            here, before = (hits[j] + 0.5) / (trials[j] + 1.0), (hits[j - 1] + 0.5) / (trials[j - 1] + 1.0)
            self._shape[j] = (_logit(here) - _logit(before)) * trials[j] / (trials[j] + SHAPE_WEIGHT)


def _plausible(drafted: tuple[int, ...], accepted: tuple[int, ...], asked: int) -> bool:
    """Counts fall with depth, and no more tokens are accepted than drafted; comparisons with NaN are false."""
    if len(drafted) < asked or len(accepted) < asked:
        return False
    reach, kept = math.inf, math.inf
    for j in range(asked):
        d, a = drafted[j], accepted[j]
        if not (0 <= a <= d <= reach and a <= kept) or d == math.inf:
            return False
        reach, kept = d, a
    return True


def _logit(rate: float) -> float:
    """Log odds, bounded to those of 0.01 and 0.99: beyond, differences between them mean nothing."""
    rate = min(max(rate, 0.01), 0.99)
    return math.log(rate / (1.0 - rate))


def _sigmoid(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-odds))
