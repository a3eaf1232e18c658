"""What an autoscaler's metric would read of a pod at another K, with the same requests coming.

At equal load an engine delivers as many tokens per second at every K: batch * E(K) / T(batch, K) is the same, and the
batch is what follows (E: tokens per request and step, T: step time). From that batch follow the step time, which is
what inter-token latency samples, the running requests, and the KV cache that they hold. Prefill is left out: it takes
the same share of every engine's time at equal load, and lengthens all these steps by one factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import drafted_per_request, expected_tokens
from turbospec.control.latency import LatencyGrid, LatencyModel
from turbospec.fleet.autoscalers import ScaleMetric
from turbospec.fleet.scale_metrics import named_in

BATCHES = 48
"""Points between a quarter of a request and ``max_num_seqs``: a fifth apart, with straight lines between them."""


class Kind(StrEnum):
    """What a metric counts, as far as K moves it in a way that can be predicted."""

    STEP_TIME = "step time"
    RUNNING_REQUESTS = "running requests"
    KV_CACHE = "KV cache"


_PARTS = (
    ("inter_token_latency", Kind.STEP_TIME),
    ("requests_running", Kind.RUNNING_REQUESTS),
    ("running_requests", Kind.RUNNING_REQUESTS),
    ("cache_usage", Kind.KV_CACHE),
    ("cache_utilization", Kind.KV_CACHE),
)


def kind_of(metric: ScaleMetric) -> Kind | None:
    """What this metric counts; None for what K does not move, and for what cannot be predicted."""
    names = named_in(metric)
    if any(name.startswith("turbospec_") for name in names):
        return None
    return next((kind for part, kind in _PARTS if any(part in name for name in names)), None)


@dataclass(frozen=True, slots=True)
class EngineCurves:
    """Batches (rising), and for each of ``draft_tokens`` step times and delivered tokens per second at each of them."""

    draft_tokens: tuple[int, ...]
    context_tokens: float
    batches: tuple[float, ...]
    seconds: tuple[tuple[float, ...], ...]
    rates: tuple[tuple[float, ...], ...]

    def rate(self, draft_tokens: int, batch: float) -> float:
        """Tokens per second of this batch; K as the largest one known up to it."""
        return float(np.interp(batch, self.batches, self.rates[self._row(draft_tokens)])) if batch > 0.0 else 0.0

    def batch(self, draft_tokens: int, rate: float) -> float:
        """The batch that delivers this rate, the largest one where none does."""
        row = self.rates[self._row(draft_tokens)]
        return float(np.interp(rate, (0.0, *row), (0.0, *self.batches)))

    def reading(self, kind: Kind, draft_tokens: int, rate: float) -> float:
        """What a metric of this kind would read of a pod that delivers this rate at this K, up to a constant factor."""
        batch = self.batch(draft_tokens, rate)
        if kind is Kind.RUNNING_REQUESTS:
            return batch
        if kind is Kind.KV_CACHE:
            return batch * (self.context_tokens + draft_tokens)  # drafts hold their places beforehand
        return float(np.interp(batch, self.batches, self.seconds[self._row(draft_tokens)]))

    def rate_at(self, kind: Kind, draft_tokens: int, reading: float) -> float:
        """What a pod delivers at which such a metric reads this; 0 where it reads more of a pod with next to nothing to
        do, and the most that it can where it never reads so much."""
        row = self._row(draft_tokens)
        held = self.context_tokens + draft_tokens
        by_batch = {
            Kind.RUNNING_REQUESTS: self.batches,
            Kind.KV_CACHE: tuple(batch * held for batch in self.batches),
            Kind.STEP_TIME: self.seconds[row],
        }[kind]
        # Step times of fitted models may fall by a hair where batches grow.
        return float(np.interp(reading, np.maximum.accumulate(by_batch), self.rates[row], left=0.0))

    def _row(self, draft_tokens: int) -> int:
        return max(i for i, k in enumerate(self.draft_tokens) if k <= draft_tokens or i == 0)


def engine_curves(
    latency: LatencyModel,
    estimates: Sequence[PositionEstimate],
    draft_tokens: Sequence[int],
    *,
    max_num_seqs: int,
    context_tokens: float,
    graph_sizes: tuple[int, ...] = (),
) -> EngineCurves:
    """The curves of K = 0 and of those of ``draft_tokens`` at which acceptance is known."""
    known = {k: tokens for k in sorted({0, *draft_tokens}) if (tokens := expected_tokens(estimates, k)) is not None}
    ks = tuple(known)
    batches = np.geomspace(0.25, max(1, max_num_seqs), BATCHES)
    drafted = [drafted_per_request(estimates, k) for k in ks]
    seconds = LatencyGrid(latency, batches, graph_sizes).seconds(ks, drafted, context_tokens)
    rates = np.maximum.accumulate(batches * np.array(list(known.values()))[:, None] / seconds, axis=1)
    return EngineCurves(
        ks,
        context_tokens,
        tuple(batches.tolist()),
        tuple(tuple(row) for row in seconds.tolist()),
        tuple(tuple(row) for row in rates.tolist()),
    )
