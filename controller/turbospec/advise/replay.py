"""The recorded load once more, with the K that ran and with the best K: how much faster requests would have been.

Speed is tokens per second of a running request. Where clients wait for their answers, requests that run at one time
stay the same, and speed is goodput. Where requests come whatever happens, faster ones are fewer at a time, which makes
steps shorter still (Little's law). Metrics do not tell the two apart: both are computed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbospec.advise.drafting import Moment
from turbospec.advise.series import Window
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import drafted_per_request, expected_tokens, shifted
from turbospec.control.latency import LatencyGrid, LatencyModel
from turbospec.control.latency_fit import Floats

OUTPUT_SHARE = 0.65
"""Of the mean output, the part that is in the context on average while a request decodes: half of it where all outputs
are equally long, all of it where their lengths vary as an exponential distribution's."""
UNKNOWN_OUTPUT = 1000.0
"""Tokens, where no request finished in all the time: long."""
CONTEXT_STEP = 0.05
"""Contexts this close (log) share their step times, as in the engine loop."""
LEAST_LOAD = 0.2
"""Requests at a time are never taken to fall below this share of what they were."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the metrics leave open; the defaults are the most likely values."""

    deeper: Callable[[Sequence[float]], float] | None = None
    """Acceptance beyond the drafted positions, from that at them; None: as at the last, as the engine loop infers."""
    acceptance_sigmas: float = 0.0
    step_time_error: float = 0.0
    """By what share steps at another K than the one that ran take longer than predicted."""
    context_factor: float = 1.0
    prefill_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Speedup:
    """Speed with the best K over that with the K that ran; ``shares`` is the share of busy time by K."""

    same_requests: float
    """Where as many requests run at one time."""
    same_arrivals: float
    """Where as many requests come."""
    shares: dict[int, float]


class Replay:
    """The busy windows of one group, ready to be evaluated under assumptions.

    Each window counts as two halves, one with a standard deviation less in the batch and one with more, so that a load
    that varies within a window is met with more than one K.
    """

    def __init__(
        self, moments: Sequence[Moment], model: LatencyModel, allowed: Sequence[int], draft_tokens: int
    ) -> None:
        """``draft_tokens``: the longest draft that ran; ``allowed`` the K that TurboSpec may use."""
        self._moments = moments
        self._model = model
        self._ks = tuple(range(max(*allowed, draft_tokens) + 1))
        self._allowed = [k in allowed for k in self._ks]
        windows = [window for moment in moments for window in moment.windows]
        self._of = np.repeat(np.arange(len(moments)), [2 * len(moment.windows) for moment in moments])
        self._batch = np.array([batch for window in windows for batch in _batches(window)])
        self._ran = np.repeat([ran for moment in moments for ran in moment.ran], 2)
        self._prefill = np.repeat([w.prompt_tokens / w.generation_tokens for w in windows], 2)
        self._tokens = np.repeat([w.generation_tokens for w in windows], 2)
        self._load = np.repeat([w.latency_seconds for w in windows], 2)
        self._latencies = np.array([w.latency_seconds / w.request_steps for w in windows])
        self._grid = LatencyGrid(model, np.arange(1, math.ceil(self._batch.max()) + 1, dtype=np.float64))
        lengths = _lengths(moments)
        self._contexts = [prompt + OUTPUT_SHARE * output for prompt, output in lengths]
        self._outputs = [output for _, output in lengths]
        self._known: dict[tuple[tuple[float, ...], int], Floats] = {}
        self.speculating = np.array([w.drafts is not None for w in windows])
        """By window: whether its engine was started with a drafter, as the model's was."""
        self._plainer = self._plain_factor()

    def evaluate(self, assumptions: Assumptions) -> Speedup:
        """The recorded load with the best K at each time, against what ran."""
        ran, best = self._times(assumptions)
        before = ran.time[:, 0] * self._plainer
        times = np.where(self._allowed, best.time, np.inf)
        loads = np.where(self._allowed, best.load(before), np.inf)
        engine_seconds = np.bincount(times.argmin(axis=1), weights=self._load / self._batch, minlength=len(self._ks))
        return Speedup(
            float((self._tokens * before / times.min(axis=1)).sum() / self._tokens.sum()),
            float(self._load.sum() / (self._load * loads.min(axis=1)).sum()),
            {k: float(s / engine_seconds.sum()) for k, s in zip(self._ks, engine_seconds, strict=True) if s > 0},
        )

    def needed_tokens(self, k: int, *, ratio: float, error: float) -> float | None:
        """Tokens per step from which on K = ``k`` at all times is as fast as what ran; None: more than k + 1.

        What ran took ``ratio`` times as long as predicted; steps at K take longer by the share ``error``.
        """
        ran, every = self._times(Assumptions(step_time_error=error))
        before, step, prefill = ratio * ran.time[:, 0], every.whole[:, k], every.prefill[:, 0]

        def speedup(tokens: float) -> float:
            return float((self._tokens * before / (step / tokens + prefill)).sum() / self._tokens.sum())

        return bisected(speedup, 1.0, k + 1.0)

    def fit_ratios(self) -> Floats:
        """Measured over predicted inter-token latency at the K that ran, one for each window."""
        ran, _ = self._times(Assumptions())
        # Delivered tokens share a latency: one for each step of a request.
        predicted = (ran.time * ran.tokens).reshape(-1, 2).mean(axis=1)
        return np.asarray(self._latencies / predicted, dtype=np.float64)

    def _plain_factor(self) -> Floats:
        """What engines without a drafter, beside others that have one, measure of their prediction at K = 0.

        They are faster than one with a drafter: that is what a drafter has to beat.
        """
        with_drafter = np.repeat(self.speculating, 2)
        if with_drafter.all() or not with_drafter.any():
            return np.ones(len(with_drafter))
        ratios = self.fit_ratios()
        factor = np.median(ratios[~self.speculating]) / np.median(ratios[self.speculating])
        return np.asarray(np.where(with_drafter, 1.0, factor), dtype=np.float64)

    def _tables(self, assumptions: Assumptions) -> tuple[Floats, Floats, Floats]:
        """Tokens per step, and step seconds at the batch and at half of it; rows are half windows, columns K."""
        tokens = np.ones((len(self._of), len(self._ks)))
        whole, half = np.empty_like(tokens), np.empty_like(tokens)
        for i, moment in enumerate(self._moments):
            rows = slice(*np.searchsorted(self._of, [i, i + 1]))
            estimates = extended(moment.estimates, len(self._ks) - 1, assumptions)
            tokens[rows] = delivered([expected_tokens(estimates, k) or 1.0 for k in self._ks], self._outputs[i])
            seconds = self._seconds(estimates, self._contexts[i] * assumptions.context_factor)
            whole[rows] = _at(seconds, self._batch[rows])
            half[rows] = _at(seconds, np.maximum(self._batch[rows] / 2.0, 1.0))
        return tokens, whole, half

    def _seconds(self, estimates: Sequence[PositionEstimate], context: float) -> Floats:
        widths = tuple(drafted_per_request(estimates, k) for k in self._ks)
        step = round(math.log(max(context, 1.0)) / CONTEXT_STEP)
        found = self._known.get((widths, step))
        if found is None:
            found = self._grid.seconds(self._ks, widths, math.exp(step * CONTEXT_STEP))
            self._known[widths, step] = found
        return found

    def _times(self, assumptions: Assumptions) -> tuple["_Times", "_Times"]:
        """Of the K that ran (one column), and of every K."""
        tokens, whole, half = self._tables(assumptions)
        away = np.minimum(np.abs(np.array(self._ks)[None, :] - self._ran[:, None]), 1.0)
        wrong = 1.0 + assumptions.step_time_error * away
        prefill = self._prefill * self._batch * self._model.fit.per_batched_token * assumptions.prefill_factor
        beside = (prefill[:, None], self._batch[:, None])
        rows, low = np.arange(len(self._ran)), np.floor(self._ran).astype(np.intp)
        high, share = np.minimum(low + 1, len(self._ks) - 1), self._ran - low

        def between(values: Floats) -> Floats:
            """At the K that ran, which is a mean where there were several."""
            mean = values[rows, low] * (1.0 - share) + values[rows, high] * share
            return np.asarray(mean[:, None], dtype=np.float64)

        ran = _Times(between(tokens), between(whole), between(half), *beside)
        return ran, _Times(tokens, whole * wrong, half * wrong, *beside)


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds by half window and K. ``prefill`` is what prefill adds to each delivered token of a request."""

    tokens: Floats
    whole: Floats
    half: Floats
    prefill: Floats
    batch: Floats

    @property
    def time(self) -> Floats:
        """Seconds that a request waits for a token."""
        return self.whole / self.tokens + self.prefill

    def load(self, before: Floats) -> Floats:
        """Requests at a time over those there were, if as many came and each token took ``before`` until now.

        x * before = seconds per token with x times the batch, where step times are a straight line between half the
        batch and all of it; infinite where no batch keeps up.
        """
        span = self.batch - np.maximum(self.batch / 2.0, 1.0)
        slope = np.where(span > 0.0, (self.whole - self.half) / np.maximum(span, 1e-9), 0.0) * self.batch
        slope = np.clip(slope, 0.0, self.whole)
        fixed, growing = (self.whole - slope) / self.tokens, slope / self.tokens + self.prefill
        left = before[:, None] - growing
        found = np.where(left > 0.0, fixed / np.maximum(left, 1e-12), np.inf)
        return np.asarray(np.maximum(found, LEAST_LOAD), dtype=np.float64)


def extended(
    estimates: Sequence[PositionEstimate], positions: int, assumptions: Assumptions
) -> tuple[PositionEstimate, ...]:
    """Estimates for so many positions, under assumptions; those beyond the drafted ones are inferred."""
    found = list(shifted(estimates, assumptions.acceptance_sigmas))
    seen = [e.acceptance for e in found if e.acceptance is not None]
    if not found or not seen:
        return tuple(found)
    deeper = seen[-1] if assumptions.deeper is None else assumptions.deeper(seen)
    last = found[-1].draft_yield
    falls = 1.0
    if last is not None and len(found) > 1 and found[-2].draft_yield:
        falls = last / found[-2].draft_yield
    for _ in range(len(found), positions):
        last = None if last is None else last * falls
        found.append(PositionEstimate(deeper, last, 0.0))
    return tuple(found[:positions])


def delivered(tokens: Sequence[float], output: float) -> list[float]:
    """Tokens per step of a request of this output, from those expected of a step at K = 0, 1, 2...

    Its first token takes a step of its own, at any K; accepted tokens beyond its end are lost: on average the overshoot
    of a renewal process, E[X(X-1)] / 2E[X], X being the tokens of a step.
    """
    found, beyond = [], 0.0
    for k, mean in enumerate(tokens):
        # P(X > k) is what the last position adds.
        beyond += k * (mean - tokens[k - 1]) if k else 0.0
        steps = max(1.0, (output - 1.0 + beyond / mean) / mean)
        found.append(output / (steps + 1.0))
    return found


def bisected(rising: Callable[[float], float], low: float, high: float) -> float | None:
    """Where a rising function reaches 1, within 0.1% of the range; None where it does not up to ``high``."""
    if rising(high) < 1.0:
        return None
    for _ in range(10):
        middle = (low + high) / 2.0
        low, high = (middle, high) if rising(middle) < 1.0 else (low, middle)
    return high


def _batches(window: Window) -> tuple[float, float]:
    """A standard deviation less and more than the mean batch."""
    spread = min(window.running_deviation, window.batch - 1.0)
    return window.batch - spread, window.batch + spread


def _lengths(moments: Sequence[Moment]) -> list[tuple[float, float]]:
    """Mean prompt and output in tokens; where no request finished in a moment, those of the whole time."""
    overall = mean_lengths([window for moment in moments for window in moment.windows]) or (1.0, UNKNOWN_OUTPUT)
    return [mean_lengths(moment.windows) or overall for moment in moments]


def mean_lengths(windows: Sequence[Window]) -> tuple[float, float] | None:
    """Of finished requests: prompt and output in tokens; None where none finished."""
    finished = sum(window.finished for window in windows)
    if finished < 1.0:
        return None
    prompt = sum(window.finished_prompt_tokens for window in windows) / finished
    return prompt, max(1.0, sum(window.finished_generation_tokens for window in windows) / finished)


def _at(seconds: Floats, batch: NDArray[np.float64]) -> Floats:
    """Columns of a table whose first is batch 1, linear between batches; one row for each batch asked for."""
    last = seconds.shape[1] - 1
    low = np.clip(np.floor(batch).astype(np.intp) - 1, 0, last)
    high = np.minimum(low + 1, last)
    share = np.clip(batch - 1.0 - low, 0.0, 1.0)
    return np.asarray((seconds[:, low] * (1.0 - share) + seconds[:, high] * share).T, dtype=np.float64)
