"""How far the real engine is off the latency model: in level, and apart for each K."""

import math

import numpy as np

CLIP = 0.4
"""Log distance from the current estimate beyond which a step counts as an outlier of this size; a true jump of the
level is followed in a few rebuilds all the same."""
BOUND = math.log(2.0)
"""Beyond a factor of two the profile is wrong and must be measured again, not bent further."""
STEP_NOISE = 0.1
"""Standard deviation of log(measured / predicted) of one step."""
BLOCK_NOISE = 0.02
"""What averaging over the steps between two rebuilds cannot remove."""
LEVEL_DRIFT = 0.005
"""Random walk of the common level per step: about 0.07 in 200 steps."""
SPREAD = 0.15
"""Standard deviation of what one K is off beside the common level."""
SPREAD_STEPS = 5000.0
"""Steps after which a K that is not visited is believed to be off like the others again."""
SPREAD_OCTAVES = 2.0
"""So too after the batch has doubled or halved this often: interpolation errs differently elsewhere."""


class LatencyBias:
    """Estimates measured / predicted step time as common level x deviation of each K (a small Kalman filter on logs).

    A machine that slows down slows all K; a profile that is wrong may be so for one K. Which of the two happened shows
    when K changes: the level does not jump at just that moment. So K that were rarely visited inherit the level, and
    uniform drift does not favour the K that were not measured lately.
    """

    def __init__(self, draft_tokens: tuple[int, ...]) -> None:
        self._index = {k: i + 1 for i, k in enumerate(draft_tokens)}
        size = len(draft_tokens) + 1
        self._mean = np.zeros(size)
        self._covariance = np.diag([SPREAD**2] * size)
        self._factors = dict.fromkeys(draft_tokens, 1.0)
        self._logs = dict.fromkeys(draft_tokens, 0.0)
        self._sums = dict.fromkeys(draft_tokens, 0.0)
        self._counts = dict.fromkeys(draft_tokens, 0)
        self._octaves = 0.0
        self._last_octave: float | None = None

    def observe(self, draft_tokens: int, batch: int, measured_seconds: float, predicted_seconds: float) -> None:
        """One step of ``batch`` >= 1 requests at this K, both times positive; K that are not tracked are ignored."""
        expected = self._logs.get(draft_tokens)
        if expected is None:
            return
        surprise = math.log(measured_seconds / predicted_seconds) - expected
        self._sums[draft_tokens] += min(max(surprise, -CLIP), CLIP)
        self._counts[draft_tokens] += 1
        self._octaves += math.log2(batch)

    def update(self) -> None:
        """Work in the steps observed since the last call."""
        steps = sum(self._counts.values())
        if steps == 0:
            return
        mean, covariance = self._mean, self._covariance
        octave = self._octaves / steps
        moved = 0.0 if self._last_octave is None else abs(octave - self._last_octave)
        self._octaves, self._last_octave = 0.0, octave
        keep = math.exp(-steps / SPREAD_STEPS - moved / SPREAD_OCTAVES)
        mean[1:] *= keep
        covariance[1:, :] *= keep
        covariance[:, 1:] *= keep
        deviations = np.arange(1, len(mean))
        covariance[deviations, deviations] += SPREAD**2 * (1.0 - keep**2)
        covariance[0, 0] += LEVEL_DRIFT**2 * steps
        for k, count in self._counts.items():
            if count:
                self._correct(self._index[k], self._logs[k] + self._sums[k] / count, count)
        for k, i in self._index.items():
            self._logs[k] = min(max(float(mean[0] + mean[i]), -BOUND), BOUND)
            self._factors[k] = math.exp(self._logs[k])
            self._sums[k], self._counts[k] = 0.0, 0

    def factors(self) -> dict[int, float]:
        """Measured / predicted for every K, within [0.5, 2]."""
        return dict(self._factors)

    def common(self) -> float:
        """The level all K share, within [0.5, 2]."""
        return math.exp(min(max(float(self._mean[0]), -BOUND), BOUND))

    def _correct(self, i: int, value: float, count: int) -> None:
        """Kalman update with one mean log ratio, which measures level + deviation i."""
        gain = self._covariance[0] + self._covariance[i]
        noise = STEP_NOISE**2 / count + BLOCK_NOISE**2
        variance = float(gain[0] + gain[i]) + noise
        self._mean += gain * ((value - self._mean[0] - self._mean[i]) / variance)
        self._covariance -= np.outer(gain, gain) / variance
