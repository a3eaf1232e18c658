"""The engine loop: K for every step, learnt from every step."""

import math
import threading
from dataclasses import dataclass, replace

import numpy as np

from turbospec.control.acceptance import AcceptanceEstimator, PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.draft_length import Decision, DraftTable, Reason, choose, restrict
from turbospec.control.goodput import Prediction, drafted_per_request, expected_tokens
from turbospec.control.latency import LatencyGrid, LatencyModel
from turbospec.control.latency_fit import Floats
from turbospec.control.loop_settings import LoopLimits, LoopSettings, check_settings
from turbospec.control.probing import DEEP_GAP_SECONDS, MIN_GAP_SECONDS, Burst, Prober, ProbeReport
from turbospec.control.step import StepComposition, StepRecord

__all__ = ["EngineLoop", "LoopLimits", "LoopSettings"]

REBUILD_STEPS = 20
"""Steps between rebuilds of the table: the paper's interval."""
REBUILD_SECONDS = 1.0
"""Where steps are slow a rebuild does not wait for all of them."""
FOLD_SECONDS = 0.3
"""Where steps are slow, drafts are looked through for a change this often."""
CONTEXT_CHANGE = 0.25
"""Relative change of the mean context that makes a rebuild due at once."""
CONTEXT_MIN_STEPS = 5
"""Steps between such rebuilds: the mean context of a few requests jumps when one ends."""
CONTEXT_SMOOTHING = 0.1
EVIDENCE_LAG_STEPS = 3
"""Steps after a probe until its drafts are verified, with asynchronous scheduling at most two behind."""
OPTIMISTIC_ACCEPTANCE = 0.95
"""If not even text this predictable would change K, there is nothing to probe for."""
WORTHWHILE_GAIN = 1.02


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one rebuild decided; replaced as a whole, so that readers need no lock."""

    table: DraftTable
    reason: Reason
    allowed: tuple[int, ...] = ()
    context_tokens: float = 0.0
    widths: tuple[float, ...] = ()
    tokens: tuple[float | None, ...] = ()
    seconds: tuple[list[float], ...] = ()
    """By allowed K, then batch - 1: predicted step time without bias."""
    factors: tuple[float, ...] = ()

    def prediction(self, i: int, batch: int) -> Prediction:
        seconds = self.seconds[i][batch - 1] * self.factors[i]
        tokens = self.tokens[i]
        return Prediction(self.allowed[i], tokens, seconds, None if tokens is None else batch * tokens / seconds)


class EngineLoop:
    """Chooses K for each step of one engine.

    Until it is configured, and where latency or acceptance are unknown, the start-up table decides. ``draft_tokens``
    and ``observe`` belong to the scheduler's thread; ``configure`` and the readers may be called from any.
    """

    def __init__(self, limits: LoopLimits, startup_table: tuple[int, ...]) -> None:
        """``startup_table`` is indexed by batch, index 0 unused; beyond its end the last entry holds."""
        if not startup_table:
            raise ValueError("the start-up table is empty")
        self._limits = limits
        self._startup = startup_table
        self._settings: LoopSettings | None = None
        self._lock = threading.Lock()
        self._estimator = AcceptanceEstimator(max(limits.max_draft_tokens, 1))
        self._prober = Prober()
        self._grid: LatencyGrid | None = None
        self._bias: LatencyBias | None = None
        self._plan = _Plan(restrict(startup_table, limits.engine_allowed, limits.max_num_seqs), Reason.STARTUP_TABLE)
        self._burst: Burst | None = None
        self._probed = False
        self._batch: int | None = None
        self._context: float | None = None
        self._steps_since_rebuild = 0
        self._seconds_since_rebuild = 0.0
        self._rebuild_after = REBUILD_STEPS
        self._changes_seen = 0
        self.rebuilds = 0
        """Tables built since the start."""
        self.ignored = 0
        """Records refused because a value in them is impossible."""

    def configure(self, settings: LoopSettings) -> None:
        """Put new settings in force; what was learnt of the text stays. The same settings again change nothing.

        Raises ValueError, with the old settings still in force, where the allowed K are none of the engine's, a table
        holds a K that is not allowed, or the prior is impossible.
        """
        check_settings(settings, self._limits)
        settings = replace(settings, allowed=tuple(sorted(set(settings.allowed))))
        with self._lock:
            old = self._settings
            if old == settings:
                return
            self._estimator.set_prior(settings.prior)
            if old is None or old.latency != settings.latency or old.allowed != settings.allowed:
                self._prepare(settings)
            self._settings = settings
            self._burst = None
            self._rebuild()

    def draft_tokens(self, composition: StepComposition) -> int:
        """K for the coming step: an allowed K for any composition. O(1)."""
        entries = self._plan.table.entries
        batch = composition.decodes
        if batch < 1:
            return entries[1]
        batch = min(batch, len(entries) - 1)
        self._batch = batch
        burst = self._burst
        if burst is not None and burst.draft_tokens > entries[batch]:
            if burst.take(batch):
                self._probed = True
                self._prober.charge(burst.cost_seconds)
                return burst.draft_tokens
            self._burst = None
            self._rebuild_after = self._steps_since_rebuild + EVIDENCE_LAG_STEPS
        self._probed = False
        return entries[batch]

    def observe(self, record: StepRecord) -> None:
        """Learn from a completed step; impossible records are counted and ignored. O(1) but for rebuilds."""
        with self._lock:
            if not _possible(record):
                self.ignored += 1
                return
            self._estimator.observe(record)
            self._observe_work(record)
            self._steps_since_rebuild += 1
            self._fold_when_slow(record.interval_seconds or 0.0)
            if self._rebuild_due():
                self._rebuild()

    def table(self) -> tuple[int, ...]:
        """K by batch; index 0 is unused."""
        return self._plan.table.entries

    def decision(self) -> Decision | None:
        """What was decided for the last step with decodes; None before the first."""
        plan, batch = self._plan, self._batch
        if batch is None:
            return None
        batch = min(batch, len(plan.table.entries) - 1)
        k, reason = plan.table.at(batch), plan.reason
        burst = self._burst
        if self._probed and burst is not None:
            k, reason = burst.draft_tokens, Reason.PROBE
        elif batch in plan.table.held:
            reason = Reason.HYSTERESIS
        predictions = tuple(plan.prediction(i, batch) for i in range(len(plan.seconds)))
        return Decision(k, reason, predictions)

    def estimates(self) -> tuple[PositionEstimate, ...]:
        """Acceptance and yield by position."""
        with self._lock:
            return self._estimator.estimate()

    def bias(self) -> float | None:
        """Measured / predicted step time at the K of the last step, within [0.5, 2]; None without a latency model."""
        plan, batch = self._plan, self._batch
        if not plan.factors:
            return None
        return plan.factors[plan.allowed.index(plan.table.at(batch or 1))]

    def probe_report(self) -> ProbeReport:
        """What probing has cost so far."""
        with self._lock:
            return self._prober.report()

    def _prepare(self, settings: LoopSettings) -> None:
        """Start afresh with a new latency model or another allowed set."""
        if settings.latency is None:
            self._grid, self._bias = None, None
            return
        batches = np.arange(1, self._limits.max_num_seqs + 1, dtype=np.float64)
        self._grid = LatencyGrid(settings.latency, batches)
        self._bias = LatencyBias(settings.allowed)

    def _observe_work(self, record: StepRecord) -> None:
        """Context and step time of a step without prefill; prefill steps say nothing of the K that decoding needs."""
        interval = record.interval_seconds
        self._prober.earn(interval)
        if record.decodes < 1 or record.prefill_tokens > 0:
            return
        context = record.kv_tokens / record.decodes
        mean = context if self._context is None else self._context
        self._context = mean + CONTEXT_SMOOTHING * (context - mean)
        # Where K has just changed, part of the interval may belong to the other K.
        if interval is not None and record.interval_draft_tokens == record.asked_draft_tokens:
            self._observe_time(record, interval)

    def _observe_time(self, record: StepRecord, interval: float) -> None:
        plan, settings = self._plan, self._settings
        k, batch = record.interval_draft_tokens, record.decodes
        if self._bias is None or settings is None or settings.latency is None or k not in plan.allowed:
            return
        i = plan.allowed.index(k)
        if not plan.seconds or batch > len(plan.seconds[i]):
            return
        fit = settings.latency.fit
        predicted = (
            plan.seconds[i][batch - 1]
            + fit.per_kv_token * (record.kv_tokens - batch * plan.context_tokens)
            + (fit.per_batched_token + fit.per_draft_token + fit.per_draft_pass / batch)
            * (record.verified_draft_tokens - batch * plan.widths[i])
        )
        if predicted > 0:
            self._bias.observe(k, batch, interval, predicted)

    def _fold_when_slow(self, seconds: float) -> None:
        before = self._seconds_since_rebuild
        self._seconds_since_rebuild = before + seconds
        if int(before / FOLD_SECONDS) != int(self._seconds_since_rebuild / FOLD_SECONDS):
            self._estimator.fold()

    def _rebuild_due(self) -> bool:
        since = self._steps_since_rebuild
        slow = self._seconds_since_rebuild >= REBUILD_SECONDS
        if slow or since >= self._rebuild_after or self._estimator.changes != self._changes_seen:
            return True
        planned, now = self._plan.context_tokens, self._context
        if since < CONTEXT_MIN_STEPS or now is None:
            return False
        return abs(now - planned) > CONTEXT_CHANGE * planned and bool(self._plan.seconds)

    def _rebuild(self) -> None:
        settings, limits = self._settings, self._limits
        self._steps_since_rebuild, self._rebuild_after = 0, REBUILD_STEPS
        self._seconds_since_rebuild = 0.0
        self._estimator.fold()
        self._changes_seen = self._estimator.changes
        if settings is None:
            return
        self.rebuilds += 1
        if settings.mode == "table" and settings.table is not None:
            self._plan = _Plan(restrict(settings.table, settings.allowed, limits.max_num_seqs), Reason.TABLE)
        elif settings.latency is None or self._grid is None or self._bias is None:
            reason = Reason.ONLY_ALLOWED if len(settings.allowed) == 1 else Reason.NO_LATENCY_MODEL
            self._plan = _Plan(restrict(self._startup, settings.allowed, limits.max_num_seqs), reason)
        else:
            self._bias.update()
            self._plan = self._optimise(settings, settings.latency, self._grid, self._bias)
            self._probe(self._plan, self._grid)

    def _optimise(self, settings: LoopSettings, model: LatencyModel, grid: LatencyGrid, bias: LatencyBias) -> _Plan:
        """Goodput of every allowed K at every batch, and the table of the best."""
        allowed = settings.allowed
        estimates = self._estimator.estimate()
        tokens = [expected_tokens(estimates, k) for k in allowed]
        widths = tuple(drafted_per_request(estimates, k) for k in allowed)
        context = self._context
        if context is None:
            context = float(np.median([cell.context_tokens for cell in model.cells]))
        seconds = grid.seconds(allowed, widths, context)
        factors = tuple(bias.factors()[k] for k in allowed)
        known = [value for value in tokens if value is not None]
        if len(allowed) == 1:
            reason = Reason.ONLY_ALLOWED
            table = restrict(allowed, allowed, self._limits.max_num_seqs)
        elif len(known) == len(tokens):
            reason = Reason.HIGHEST_GOODPUT
            previous = self._plan.table if self._plan.reason is Reason.HIGHEST_GOODPUT else None
            # Goodput divided by the batch, which all K of a column share.
            table = choose(_column(known) / (seconds * _column(factors)), allowed, previous)
        else:
            reason = Reason.NO_ACCEPTANCE
            table = restrict(self._startup, allowed, self._limits.max_num_seqs)
        return _Plan(table, reason, allowed, context, widths, tuple(tokens), tuple(seconds.tolist()), factors)

    def _probe(self, plan: _Plan, grid: LatencyGrid) -> None:
        """Start a burst at the next larger K if its position has not been seen for long, and it could matter."""
        # A burst that is still pending was priced for a batch that has gone.
        self._burst = None
        batch = self._batch
        if batch is None:
            return
        current = plan.table.at(batch)
        larger = [i for i, k in enumerate(plan.allowed) if k > current]
        if not larger:
            return
        now = plan.allowed.index(current)
        if not self._worthwhile(plan, grid, now, larger, batch):
            return
        first = larger[0]
        ours, probe = plan.prediction(now, batch), plan.prediction(first, batch)
        # The time the current K would have needed to deliver the same; where nothing is known drafts deliver nothing.
        gained = (probe.expected_tokens or 1.0) / (ours.expected_tokens or 1.0)
        cost = max(0.0, probe.step_seconds - gained * ours.step_seconds)
        self._burst = self._prober.plan(
            draft_tokens=plan.allowed[first],
            batch=batch,
            stale_steps=self._estimator.staleness(current),
            gap_steps=int((MIN_GAP_SECONDS if current == 0 else DEEP_GAP_SECONDS) / ours.step_seconds),
            cost_seconds=cost,
        )

    def _worthwhile(self, plan: _Plan, grid: LatencyGrid, now: int, larger: list[int], batch: int) -> bool:
        """Whether text as predictable as text gets would make a larger K win at this batch."""
        current = plan.allowed[now]
        hope = PositionEstimate(OPTIMISTIC_ACCEPTANCE, 1.0, 0.0)
        estimates = self._estimator.estimate()
        hopeful = [e if j < current else hope for j, e in enumerate(estimates)]
        best = 0.0
        for i in larger:
            k = plan.allowed[i]
            width = drafted_per_request(hopeful, k)
            seconds = float(grid.seconds((k,), (width,), plan.context_tokens)[0, batch - 1]) * plan.factors[i]
            best = max(best, (expected_tokens(hopeful, k) or 1.0) / seconds)
        ours = plan.prediction(now, batch)
        return best > WORTHWHILE_GAIN * (ours.expected_tokens or 1.0) / ours.step_seconds


def _column(values: list[float] | tuple[float, ...]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]


def _possible(record: StepRecord) -> bool:
    """Whether the numbers of a record can be true; comparisons with NaN are false."""
    interval = record.interval_seconds
    return (
        0 <= record.decodes < math.inf
        and 0 <= record.prefill_tokens < math.inf
        and 0 <= record.kv_tokens < math.inf
        and 0 <= record.verified_draft_tokens < math.inf
        and (interval is None or 0.0 < interval < math.inf)
    )
