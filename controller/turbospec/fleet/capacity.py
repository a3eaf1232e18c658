"""Offered over attainable work: how loaded pods are, whatever K they run at the moment.

What users call load (running requests, time between tokens, KV cache in use) falls where speculation works and rises
where it does not, with the same requests coming. This signal does not: *offered* is what comes (see ``demand``), and
*attainable* is what the pods could do at the best draft length they may use under the objective.

An engine in equilibrium with B decoding requests delivers B * E(K) tokens a step, and takes in the prompts of as many
requests as finish: lambda = B * E / (O * T), with T the time of a step of B decodes and B * E * P / O prefill tokens
(P, O: mean prompt and output length). lambda grows with B until something runs out, and what runs out names the phase:

- decode: ``max_num_seqs``, or the ceiling on time per output token;
- prefill: the step's token budget, or the ceiling on time to first token;
- KV: the cache, of which a request holds its prompt and, on average, half of its output.

Each phase's capacity is lambda at the B where that phase's bound is reached; the engine's is the least of the three, at
the K that makes the least the largest. Decodes and prefill share every step, so each phase's step holds both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import drafted_per_request, expected_tokens
from turbospec.control.latency import LatencyGrid, LatencyModel
from turbospec.control.latency_fit import Floats
from turbospec.control.objective import Objective, excess, slow_estimates
from turbospec.fleet.demand import Demand, Lengths
from turbospec.fleet.effects import TableRange

FRACTIONS = (0.0625, 0.125, 0.25, 0.5)
"""Mean batches below one request: where prompts are long and outputs short, few steps decode at all."""

BATCHES = 64
"""Points at which step times are predicted; between them, a tenth apart, rates are linear."""

BEYOND = 4
"""Times ``max_num_seqs`` that batches are looked at: where prefill and KV cache would end, if that were no bound."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What one engine may run now.

    ``draft_tokens`` are the K it may choose from, rising. Where nobody steers it, it runs ``table``, and only that.
    ``estimates`` are of the text that the fleet serves.
    """

    latency: LatencyModel
    estimates: tuple[PositionEstimate, ...]
    draft_tokens: tuple[int, ...]
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_tokens: int
    table: tuple[TableRange, ...] | None = None
    graph_sizes: tuple[int, ...] = ()
    objective: Objective = field(default_factory=Objective)


@dataclass(frozen=True, slots=True)
class Attainable:
    """Requests per second that the bound of each phase lets through, of the lengths it was asked for."""

    prefill: float
    decode: float
    kv: float

    @property
    def requests_per_second(self) -> float:
        """What all three let through."""
        return min(self.prefill, self.decode, self.kv)


@dataclass(frozen=True, slots=True)
class LoadSignal:
    """Offered over attainable work of some pods, by phase; 1 is all that they can do.

    Demand and capacity are in delivered tokens (output), so that demand over capacity is the number of pods at ratio 1.
    ``expected_tokens_per_second`` is the demand when a pod that is asked for now would be Ready.
    """

    prefill: float
    decode: float
    kv: float
    demand_tokens_per_second: float
    pod_capacity_tokens_per_second: float
    expected_tokens_per_second: float

    @property
    def ratio(self) -> float:
        """The largest of the three."""
        return max(self.prefill, self.decode, self.kv)

    @property
    def expected_ratio(self) -> float:
        """The ratio when a pod that is asked for now would be Ready, with the pods of now."""
        demand = self.demand_tokens_per_second
        return self.ratio * self.expected_tokens_per_second / demand if demand > 0.0 else 0.0

    @property
    def expected_pods(self) -> float:
        """The pods at ratio 1 that it will then take, whatever their number is now."""
        return self.expected_tokens_per_second / self.pod_capacity_tokens_per_second


def load_signal(
    demand: Demand, lengths: Lengths, pods: Iterable[Attainable], *, silent: float = 0.0
) -> LoadSignal | None:
    """The load of these pods, which share the demand as a load balancer shares it; None without any pod.

    ``silent`` pods more are taken to be like the mean of those.
    """
    # Sorted, because sums of floats depend on their order and decisions must not.
    known = sorted(pods, key=lambda pod: (pod.prefill, pod.decode, pod.kv))
    if not known:
        return None
    offered = demand.offered_per_second
    count = len(known) + silent
    more = count / len(known)
    prefill, decode, kv = (more * sum(getattr(pod, phase) for pod in known) for phase in ("prefill", "decode", "kv"))
    return LoadSignal(
        prefill=offered / prefill,
        decode=offered / decode,
        kv=offered / kv,
        demand_tokens_per_second=offered * lengths.output_tokens,
        pod_capacity_tokens_per_second=min(prefill, decode, kv) * lengths.output_tokens / count,
        expected_tokens_per_second=demand.expected_offered_per_second * lengths.output_tokens,
    )


def attainable(engine: Capability, lengths: Lengths) -> Attainable | None:
    """What this engine can do of requests of these lengths; None where acceptance at a K that it may use is not known.

    A ceiling that no K meets even on an idle engine is left out: no number of pods would meet it.
    """
    tokens = tuple(expected_tokens(engine.estimates, k) for k in engine.draft_tokens)
    known = np.array([value for value in tokens if value is not None])
    if not len(known) or len(known) < len(tokens):
        return None
    batches = _batches(BEYOND * max(1, engine.max_num_seqs))
    drafted = np.array([drafted_per_request(engine.estimates, k) for k in engine.draft_tokens])
    outputs = max(1.0, lengths.output_tokens)
    prefill = batches * known[:, None] * lengths.prefill_tokens / outputs
    grid = LatencyGrid(engine.latency, batches, engine.graph_sizes)
    context = lengths.prompt_tokens + outputs / 2.0
    seconds = grid.components(engine.draft_tokens, drafted.tolist(), context, prefill).sum(axis=0)
    slow = slow_estimates(engine.estimates, engine.objective.time_per_output_token_percentile)
    slow_tokens = np.array([expected_tokens(slow, k) or 1.0 for k in engine.draft_tokens])
    per_token, first_token = _ceilings(engine.objective, seconds, slow_tokens)
    batched = batches * (1.0 + drafted[:, None]) + prefill
    wanted = {
        "prefill": np.maximum(first_token, batched / max(1, engine.max_num_batched_tokens)),
        "decode": np.maximum(per_token, batches / max(1, engine.max_num_seqs)),
        "kv": np.broadcast_to(batches * context / max(1, engine.kv_cache_tokens), seconds.shape),
    }
    rates = batches * known[:, None] / (seconds * outputs)
    if engine.table is not None:
        row = _rows(engine.table, engine.draft_tokens, batches)
        columns = np.arange(len(batches))
        rates = rates[row, columns][None, :]
        wanted = {phase: needed[row, columns][None, :] for phase, needed in wanted.items()}
    found = {phase: _bounded(rates, needed) for phase, needed in wanted.items()}
    best = int(np.minimum.reduce(list(found.values())).argmax())
    return Attainable(float(found["prefill"][best]), float(found["decode"][best]), float(found["kv"][best]))


def _batches(most: int) -> Floats:
    """Mean batches from a fraction of a request to this many, denser where there are few."""
    return np.concatenate([np.array(FRACTIONS), np.geomspace(1.0, most, BATCHES)])


def _ceilings(objective: Objective, seconds: Floats, slow_tokens: Floats) -> tuple[Floats, Floats]:
    """By how much each K (rows) misses the two ceilings at each batch (columns), as the engine loop judges it."""
    per_token = replace(objective, time_to_first_token_seconds=None)
    first_token = replace(objective, time_per_output_token_seconds=None)
    found = []
    for ceiling in (per_token, first_token):
        # The steps here hold their prefill already; nobody waits where load is attainable.
        missed = excess(ceiling, seconds, slow_tokens, prefill_seconds=0.0, waiting=0.0)
        found.append(np.zeros_like(missed) if (missed[:, 0] > 1.0).all() else missed)
    return found[0], found[1]


def _rows(table: Sequence[TableRange], draft_tokens: tuple[int, ...], batches: Floats) -> list[int]:
    """For every batch, which of ``draft_tokens`` the table runs there: the largest not above what it says."""
    found = []
    for batch in np.maximum(1, np.rint(batches)).astype(int).tolist():
        wanted = next((row.draft_tokens for row in table if row.from_batch <= batch <= row.to_batch), 0)
        found.append(max((i for i, k in enumerate(draft_tokens) if k <= wanted), default=0))
    return found


def _bounded(rates: Floats, needed: Floats) -> Floats:
    """The highest rate of each row at a batch where no more is needed than there is (1)."""
    rates, needed = np.maximum.accumulate(rates, axis=1), np.maximum.accumulate(needed, axis=1)
    return np.array([np.interp(1.0, need, rate) for need, rate in zip(needed, rates, strict=True)])
