"""How far the real engine is off the latency model: in each part of the step time, and apart for each K."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from turbospec.control.graph_exit import GraphExit
from turbospec.control.latency_fit import Floats
from turbospec.control.latency_modes import COMPONENTS
from turbospec.control.region_fit import RegionMonitor

PARTS = len(COMPONENTS)
BOUND = 2.0
"""Beyond a factor of two the profile is wrong and must be measured again, not bent further."""
STEP_NOISE = 0.05
"""Relative standard deviation of one step's time, until it has been measured: 3% on GPUs, 10-20% on shared cores."""
NOISE_MEMORY = 0.1
"""Weight of one block in the measured noise: about ten blocks, two hundred steps."""
LEAST_BLOCK_NOISE = 0.005
"""What averaging over a block cannot remove, at least; the rest is learnt from how far blocks really miss."""
LEVEL_WALK = 0.003
"""Random walk, per step, of the level that all parts share: 0.03 in a hundred steps (clocks, neighbours)."""
PART_WALK = 0.0005
"""The same of each part: what makes drafting dearer against the rest comes with new software, not from step to step."""
DEVIATION_STEPS = 5000.0
"""Steps after which a K that is not visited is believed to be off like the others again."""
DEVIATION_OCTAVES = 2.0
"""So too after the batch has doubled or halved this often: interpolation errs differently elsewhere."""
JUMP_SIGMAS = 3.5
"""A block that misses by this many standard deviations, and the next one at its K on the same side as well, are a jump
(a lost graph, another clock), not noise: by chance once in 300,000 blocks, and then it costs a few probes."""
CONFIRMING_SIGMAS = 2.5
"""What the second block must miss by: the first has moved the level, and the second may be a few steps only."""
DOUBT_SIGMAS = 1.0
"""A block that still misses to the same side by this much does not refute the one before: after a probe it may hold one
step. Taken for a refutation, a jump was left to the level, which hid for 2,000 steps that K = 0 had become the best."""
JUMP = 0.3
"""Standard deviation of what a jump does to the level, and to each part of it."""
JUMP_DEVIATION = 0.15
"""The same for each K apart: what has changed need not follow the parts. With less, the K not tried after a jump were
taken for known: one that had become the best by 20% was not looked at again."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Standard deviations before anything was measured here."""

    level: float
    part: float
    deviation: float


PROFILED = Beliefs(level=0.1, part=0.05, deviation=0.03)
"""A profile from the same hardware; interpolated cells are off by about 3% where step times are not linear."""
GUESSED = Beliefs(level=0.3, part=0.7, deviation=0.2)
"""No profile: a form of step times, scaled to the first steps seen."""
DOUBT_OF_DEVIATION = 0.5
"""Share of a profile's doubt that each K has apart; between what PROFILED and GUESSED have (0.6 and 0.3 of a part)."""


def doubted(doubt: float) -> Beliefs:
    """PROFILED, with every part off by a relative standard deviation of ``doubt`` >= 0 besides."""
    return Beliefs(
        level=math.hypot(PROFILED.level, doubt),
        part=math.hypot(PROFILED.part, doubt),
        deviation=math.hypot(PROFILED.deviation, DOUBT_OF_DEVIATION * doubt),
    )


class LatencyBias:
    """Estimates measured / predicted step time as a sum over its parts, each with a factor, plus a deviation of each K.

    A Kalman filter on ratios: y = sum of factor_c * share_c + deviation_K, where share_c is the part's share of the
    predicted step time. So level and slope are both followed: a uniform slowdown moves all factors, dearer tokens
    or drafts move one of them, and what is learnt at one batch and K holds at others as far as their parts agree. What
    cannot be told apart at the K and batches visited stays uncertain (``spread``), which is what probes are for.

    Corrections are bounded to [0.5, 2] against a profile (``cold`` has none). ``fit`` says whether it needs so much of
    them that the profile is not of this engine.
    """

    def __init__(self, draft_tokens: Sequence[int], *, cold: bool = False, doubt: float = 0.0) -> None:
        """``doubt`` is that of the profile (``LatencyModel``)."""
        self.draft_tokens = tuple(draft_tokens)
        self.cold = cold
        self._doubt = doubt
        self._beliefs = GUESSED if cold else doubted(doubt)
        self._index = {k: PARTS + i for i, k in enumerate(self.draft_tokens)}
        size = PARTS + len(self.draft_tokens)
        self._mean = np.zeros(size)
        self._mean[:PARTS] = 1.0
        self._covariance = np.zeros((size, size))
        self._loosen(self._beliefs.level, self._beliefs.part)
        deviations = np.arange(PARTS, size)
        self._covariance[deviations, deviations] = self._beliefs.deviation**2
        self._step_noise = STEP_NOISE
        self._block_noise = LEAST_BLOCK_NOISE
        self._octave: float | None = None
        # K whose last block missed: the side, doubled where K had just been changed to it.
        self._missed: dict[int, int] = {}
        self._last: int | None = None
        self.jumps = 0
        """Sudden changes of step time since the start."""
        self.fit = RegionMonitor()
        """Measured over predicted by region, without any correction; not saved, for it is known again in seconds."""
        self.graph_exit = GraphExit()
        """What leaving the graphs costs, in steps with prefill; not saved either."""
        self._level = 1.0

    def observe(self, draft_tokens: int, batch: float, shares: Sequence[float], ratios: Sequence[float]) -> None:
        """Steps of about ``batch`` >= 1 requests at this K: measured / predicted of each, and the parts' ``shares`` of
        the predicted time (their sum is 1). K that are not tracked are ignored."""
        i = self._index.get(draft_tokens)
        if i is None or not ratios:
            return
        self.fit.observe(batch, ratios)
        self._advance(len(ratios), batch)
        row = np.zeros(len(self._mean))
        row[:PARTS] = shares
        row[i] = 1.0
        expected = float(row @ self._mean)
        value = self._typical(ratios, expected)
        gain = self._covariance @ row
        known = float(row @ gain)
        noise = self._step_noise**2 / len(ratios)
        surprise = value - expected
        sigmas = surprise / math.sqrt(known + noise + self._block_noise**2)
        side = 1 if sigmas > 0 else -1
        before = self._missed.get(draft_tokens, 0)
        if abs(sigmas) > (CONFIRMING_SIGMAS if before * side > 0 else JUMP_SIGMAS):
            # One block alone may be a hiccup: it counts little until the next one at this K says the same.
            entered = 2 if self._last != draft_tokens else 1
            if before * side <= 0:
                self._missed[draft_tokens] = side * entered
                noise += (surprise / JUMP_SIGMAS) ** 2
            else:
                self._missed.clear()
                self.jumps += 1
                self.graph_exit.loosen()
                # A miss that came with the change of K belongs to that K, not to the machine.
                with_k = abs(before) > 1
                self._loosen(0.0 if with_k else JUMP, JUMP)
                deviations = np.arange(PARTS, len(self._mean))
                self._covariance[deviations, deviations] += JUMP_DEVIATION**2
                if with_k:
                    self._covariance[i, i] += JUMP**2
                gain = self._covariance @ row
                known = float(row @ gain)
        elif before * side > 0 and abs(sigmas) > DOUBT_SIGMAS:
            noise += (surprise / JUMP_SIGMAS) ** 2
        else:
            excess = max(surprise**2 - known - noise, LEAST_BLOCK_NOISE**2)
            self._block_noise = math.sqrt(
                (1.0 - NOISE_MEMORY) * self._block_noise**2 + NOISE_MEMORY * min(excess, self._step_noise**2)
            )
            self._missed.pop(draft_tokens, None)
        self._last = draft_tokens
        variance = known + noise + self._block_noise**2
        self._mean += gain * (surprise / variance)
        self._covariance -= np.outer(gain, gain) / variance
        self._level = float(row @ self._mean)

    def correct(self, components: Floats) -> Floats:
        """Step times, shape (K, batches), from predicted ``components`` (parts, K, batches) of the tracked K in order.

        Positive; within a factor of two of the prediction where that comes from a profile.
        """
        total = components.sum(axis=0)
        mean = self._mean
        # In place: what a rebuild costs is mostly memory that it has not touched lately.
        seconds = (mean[:PARTS] @ components.reshape(PARTS, -1)).reshape(total.shape)
        seconds /= total
        seconds += mean[PARTS:, None]
        least, most = (0.05, 20.0) if self.cold else (1.0 / BOUND, BOUND)
        np.clip(seconds, least, most, out=seconds)
        seconds *= total
        return np.asarray(seconds, dtype=np.float64)

    def factor(self, part: str) -> float:
        """Measured / predicted of one of COMPONENTS, positive."""
        return max(0.1, float(self._mean[COMPONENTS.index(part)]))

    def spreads(self, components: Floats) -> Floats:
        """Standard deviation of log(seconds at one K / seconds at another), for each pair of them.

        ``components`` is that of one batch, (parts, K).
        """
        total = components.sum(axis=0)
        rows = np.zeros((components.shape[1], len(self._mean)))
        rows[:, :PARTS] = (components / total).T
        rows[:, PARTS:] = np.eye(components.shape[1])
        rows /= np.maximum(rows @ self._mean, 0.05)[:, None]
        shared = rows @ self._covariance @ rows.T
        own = np.diagonal(shared)
        return np.asarray(np.sqrt(np.maximum(own[:, None] + own[None, :] - 2.0 * shared, 0.0)))

    @property
    def level(self) -> float:
        """Measured / predicted of what was observed last, within [0.5, 2] where there is a profile."""
        if self.cold:
            return self._level
        return min(max(self._level, 1.0 / BOUND), BOUND)

    @property
    def suspicious(self) -> bool:
        """A block missed by more than noise explains: the next one at its K tells whether something has changed."""
        return bool(self._missed) or (self.fit.doubtful and not self.cold)

    @property
    def off_profile(self) -> bool:
        """The engine's step times are not those of its profile: it must be measured again."""
        return self.fit.off and not self.cold

    def save(self) -> dict[str, Any]:
        """All that was learnt, as plain lists and numbers."""
        return {
            "draft_tokens": list(self.draft_tokens),
            "cold": self.cold,
            "doubt": self._doubt,
            "mean": self._mean.tolist(),
            "covariance": self._covariance.tolist(),
            "step_noise": self._step_noise,
            "block_noise": self._block_noise,
            "octave": self._octave,
            "missed": [list(item) for item in self._missed.items()],
            "last": self._last,
            "jumps": self.jumps,
            "level": self._level,
        }

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> "LatencyBias":
        """The filter that ``save`` described. Raises ValueError for values that are not finite or do not fit."""
        made = cls(saved["draft_tokens"], cold=saved["cold"], doubt=saved["doubt"])
        mean, covariance = np.array(saved["mean"], dtype=np.float64), np.array(saved["covariance"], dtype=np.float64)
        if mean.shape != made._mean.shape or covariance.shape != made._covariance.shape:
            raise ValueError("saved step-time corrections are not those of these draft lengths")
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ValueError("saved step-time corrections are not finite")
        made._mean, made._covariance = mean, covariance
        made._step_noise, made._block_noise = saved["step_noise"], saved["block_noise"]
        made._octave, made._missed = saved["octave"], dict(saved["missed"])
        made.jumps, made._level, made._last = saved["jumps"], saved["level"], saved["last"]
        return made

    def _advance(self, steps: int, batch: float) -> None:
        """Let beliefs loosen over these steps, and those of K with the distance between batches."""
        beliefs, covariance = self._beliefs, self._covariance
        octave = math.log2(max(batch, 1.0))
        moved = 0.0 if self._octave is None else abs(octave - self._octave)
        self._octave = octave
        keep = math.exp(-steps / DEVIATION_STEPS - moved / DEVIATION_OCTAVES)
        self._mean[PARTS:] *= keep
        covariance[PARTS:, :] *= keep
        covariance[:, PARTS:] *= keep
        deviations = np.arange(PARTS, len(self._mean))
        covariance[deviations, deviations] += beliefs.deviation**2 * (1.0 - keep**2)
        self._loosen(LEVEL_WALK * math.sqrt(steps), PART_WALK * math.sqrt(steps))

    def _loosen(self, level: float, part: float) -> None:
        block = self._covariance[:PARTS, :PARTS]
        block += level**2
        block[np.arange(PARTS), np.arange(PARTS)] += part**2

    def _typical(self, ratios: Sequence[float], expected: float) -> float:
        """The middle of a block's ratios; what is far from the others, or alone and far from expected, is cut."""
        if len(ratios) < 3:
            reach = 0.4 * max(expected, 0.1)
            return sum(min(max(ratio, expected - reach), expected + reach) for ratio in ratios) / len(ratios)
        ordered = sorted(ratios)
        middle = ordered[len(ordered) // 2]
        reach = 4.0 * self._step_noise * middle
        near = [ratio for ratio in ordered if abs(ratio - middle) <= reach] or [middle]
        typical = sum(near) / len(near)
        # 1.25 mean absolute deviations are one standard deviation of a normal distribution.
        deviation = 1.25 * sum(min(abs(ratio - middle), 0.5 * middle) for ratio in ordered) / len(ordered) / middle
        self._step_noise += NOISE_MEMORY * (min(max(deviation, 0.005), 0.5) - self._step_noise)
        return typical
