"""The engine loop: K for every step, learnt from every step."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from turbospec.control.acceptance import AcceptanceEstimator, PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.draft_length import Decision, Reason, restrict
from turbospec.control.goodput import expected_tokens
from turbospec.control.information import options, outlook
from turbospec.control.latency import LatencyModel
from turbospec.control.loop_settings import LoopLimits, LoopSettings, check_settings
from turbospec.control.online_latency import guess
from turbospec.control.plan import Plan, Planner
from turbospec.control.probing import (
    BASELINE_AFTER_STEPS,
    BASELINE_CELLS,
    COLD_STEPS,
    Burst,
    Prober,
    ProbeReport,
    with_baseline,
)
from turbospec.control.recent import LeftLately
from turbospec.control.region_fit import RegionFit
from turbospec.control.rounds import Rounds
from turbospec.control.served_cells import CellCollector, ServedCell
from turbospec.control.situation import SituationMonitor
from turbospec.control.step import StepComposition, StepRecord, possible
from turbospec.control.step_times import learn_times

__all__ = ["EngineLoop", "LoopLimits", "LoopSettings"]

BLOCK_STEPS = 32
"""Steps of text that are learnt from together (the paper decides every 20): 0.2-0.4 s at 7-13 ms."""
SLOW_BLOCK_STEPS = 4
SLOW_BLOCK_SECONDS = 0.7
"""Where steps are slow a block does not wait for all of them: so many steps and so much time suffice. On CPUs with
steps of 0.2 s, blocks of 8 steps took most of the ten seconds in which K is to have followed."""
EVIDENCE_LAG_STEPS = 3
"""Steps after a probe until its drafts are verified, with asynchronous scheduling at most two behind."""


class EngineLoop:
    """Chooses K for each step of one engine.

    Until it is configured, and where acceptance is unknown, the start-up table decides; without a latency model step
    times are learnt while serving. ``draft_tokens`` and ``observe`` belong to the scheduler's thread; ``configure`` and
    the readers may be called from any.
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
        self._cells = CellCollector(max(limits.graph_sizes, default=None))
        self._prober = Prober()
        self._monitor = SituationMonitor()
        self._planner: Planner | None = None
        # The profile, or what was guessed for want of one.
        self._model: LatencyModel | None = None
        self._pending: list[StepRecord] = []
        self._pending_seconds = 0.0
        self._block_steps = BLOCK_STEPS
        # Steps learnt from as far as the text goes, but not yet as far as their times go.
        self._round = Rounds()
        self._passed = 0.0
        # What is to be done at the next step: work is spread, so that no step is held up for all of it.
        self._next: Callable[[], None] | None = None
        self._estimates_known = False
        self._planned = (1, 0)
        self._burst: Burst | None = None
        self._probed = False
        self._batch: int | None = None
        self._left, self._now = LeftLately(), 0.0
        self._with_prefill = False
        self.rebuilds = 0
        """Tables built since the start."""
        self.ignored = 0
        """Records refused because a value in them is impossible."""
        self._plan: Plan
        self._install(Plan(restrict(startup_table, limits.engine_allowed, limits.max_num_seqs), Reason.STARTUP_TABLE))

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
            self._learn()
            self._estimator.set_prior(settings.prior)
            self._left.informed = bool(settings.prior) and settings.latency is not None
            self._settings = settings
            self._burst = None
            planner = self._planner
            same = old is not None and (old.latency, old.allowed) == (settings.latency, settings.allowed)
            if same and planner is not None and self._model is not None:
                # What was learnt of step times stays, with a profile or without.
                self._planner = self._made(settings, self._model, planner.bias)
            else:
                self._model = settings.latency
                self._planner = None if self._model is None else self._made(settings, self._model)
            self._rebuild()

    def draft_tokens(self, composition: StepComposition) -> int:
        """K for the coming step: an allowed K for any composition. O(1)."""
        batch = composition.decodes
        entries = self._prefill_entries if composition.prefill_tokens else self._entries
        if batch < 1:
            return entries[1]
        if batch >= len(entries):
            batch = len(entries) - 1
        self._batch = batch
        self._with_prefill = composition.prefill_tokens > 0
        if self._burst is not None:
            return self._probe(batch, entries[batch])
        self._probed = False
        return entries[batch]

    def observe(self, record: StepRecord) -> None:
        """Learn from a completed step; impossible records are counted and ignored. O(1) but once per block."""
        self._pending.append(record)
        interval = record.interval_seconds
        if interval is not None:
            self._pending_seconds += interval
        # A sum that is NaN is never above the limit: then the count decides.
        if self._next is not None:
            with self._lock:
                work, self._next = self._next, None
                work()
            return
        steps = len(self._pending)
        if steps >= self._block_steps or (steps >= SLOW_BLOCK_STEPS and self._pending_seconds > SLOW_BLOCK_SECONDS):
            with self._lock:
                self._learn()

    def table(self) -> tuple[int, ...]:
        """K by batch, for steps without prefill; index 0 is unused."""
        return self._plan.table.entries

    def decision(self) -> Decision | None:
        """What was decided for the last step with decodes; None before the first."""
        plan, batch = self._plan, self._batch
        if batch is None:
            return None
        decision = plan.explain(batch, prefill=self._with_prefill)
        burst = self._burst
        if self._probed and burst is not None:
            return replace(decision, draft_tokens=burst.draft_tokens, reason=Reason.PROBE)
        return decision

    def estimates(self) -> tuple[PositionEstimate, ...]:
        """Acceptance and yield by position."""
        with self._lock:
            self._learn()
            return self._estimator.estimate()

    def bias(self) -> float | None:
        """Measured / predicted step time lately, within [0.5, 2]; None without a latency profile."""
        planner = self._planner
        return None if planner is None or planner.bias.cold else planner.bias.level

    def off_profile(self) -> bool:
        """Step times are off the profile by more than a third: this engine is not what was measured."""
        planner = self._planner
        return planner is not None and planner.bias.off_profile

    def regions(self) -> tuple[RegionFit, ...]:
        """Measured over predicted step time by region of batches; empty without a latency profile."""
        planner = self._planner
        return () if planner is None or planner.bias.cold else planner.bias.fit.regions()

    def cells(self) -> tuple[ServedCell, ...]:
        """Step times by batch, context and K, as traffic and probes have visited them."""
        with self._lock:
            self._learn()
            return self._cells.cells()

    def probe_report(self) -> ProbeReport:
        """What probing has cost so far."""
        with self._lock:
            return self._prober.report()

    def save(self) -> dict[str, Any]:
        """All that was learnt of text and step times, as plain lists and numbers, for ``restore``."""
        with self._lock:
            self._learn()
            planner = self._planner
            bias = None if planner is None else planner.bias.save()
            return {"acceptance": self._estimator.save(), "bias": bias, "cells": self._cells.save()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what ``save`` said; call it after ``configure``.

        Step times are taken over where the allowed K are the same and there is a profile now as there was then. Raises
        ValueError, with nothing changed, where it is not what this engine can have saved.
        """
        estimator = AcceptanceEstimator.restore(saved["acceptance"])
        if estimator.max_draft_tokens != self._estimator.max_draft_tokens:
            raise ValueError(f"saved by an engine with {estimator.max_draft_tokens} draft positions")
        bias = None if saved["bias"] is None else LatencyBias.restore(saved["bias"])
        with self._lock:
            self._learn()
            self._cells.restore(saved["cells"])
            self._estimator = estimator
            settings = self._settings
            model = None if settings is None else settings.latency
            same = bias is not None and not bias.cold and settings is not None and bias.draft_tokens == settings.allowed
            if same and settings is not None and model is not None and bias is not None:
                self._planner = self._made(settings, model, bias)
            self._rebuild()

    def _probe(self, batch: int, regular: int) -> int:
        """One step of the burst, if it goes on."""
        burst = self._burst
        if burst is not None and burst.draft_tokens != regular and burst.take(batch):
            self._probed = True
            self._prober.charge(burst.cost_seconds)
            return burst.draft_tokens
        self._burst, self._probed = None, False
        self._block_steps = min(BLOCK_STEPS, len(self._pending) + EVIDENCE_LAG_STEPS)
        # What the burst has brought is judged as soon as it is in.
        self._round.shorten(1)
        return regular

    def _made(self, settings: LoopSettings, model: LatencyModel, bias: LatencyBias | None = None) -> Planner:
        return Planner(self._limits, settings, model, bias or LatencyBias(settings.allowed, doubt=model.doubt))

    def _learn(self) -> None:
        """Take in the steps since the last time; look whether another table or a probe is due."""
        # A reader may be here while the scheduler appends: what comes now belongs to the next block.
        pending, self._pending = self._pending, []
        self._pending_seconds, self._block_steps = 0.0, BLOCK_STEPS
        records = [record for record in pending if possible(record)]
        self.ignored += len(pending) - len(records)
        if not records:
            return
        self._now = records[-1].ended_seconds
        changes = self._estimator.changes
        self._estimator.learn(records)
        passed = self._monitor.learn(records)
        self._prober.earn(passed, len(records))
        self._cells.learn(records)
        settings = self._settings
        if settings is None or settings.mode == "table":
            return
        self._round.add(records, passed)
        changed = self._estimator.changes != changes
        if changed or self._round.over or not self._estimates_known:
            self._judge(settings, changed=changed)

    def _judge(self, settings: LoopSettings, *, changed: bool) -> None:
        """Learn step times, and see whether another table or a probe is due."""
        records, passed = self._round.take()
        if self._planner is None:
            model = guess(records)
            if model is None:
                return
            self._model = model
            self._planner = self._made(settings, model, LatencyBias(settings.allowed, cold=True))
            self._prober.lend(COLD_STEPS * passed / len(records))
            changed = True
        planner = self._planner
        jumps = planner.bias.jumps
        learn_times(planner, self._plan, records)
        if changed or planner.bias.jumps != jumps:
            # Another text, another machine: what was left before may be best now.
            self._plan = self._plan.forgiving()
        if planner.bias.jumps != jumps:
            self._left.forget()
        if planner.bias.suspicious:
            self._round.shorten(BLOCK_STEPS)
        estimates = self._estimator.estimate()
        self._estimates_known = estimates[0].acceptance is not None
        self._passed += passed
        # One piece of work per step: none of them is held up for all.
        self._next = partial(self._rebuild, estimates) if changed or self._moved(estimates, planner) else self._look

    def _moved(self, estimates: tuple[PositionEstimate, ...], planner: Planner) -> bool:
        """Whether what the table was made from has changed by enough."""
        plan, batch = self._plan, self._batch
        if batch is None or not self._planned[0] <= batch <= self._planned[1]:
            return True
        graphs = bool(self._limits.graph_sizes)
        return self._monitor.moved(plan.situation, graphs=graphs) or plan.outdated(estimates, planner.bias, batch)

    def _look(self) -> None:
        """Start a burst at another K where knowing more of it is worth its price."""
        plan, batch, planner = self._plan, self._batch, self._planner
        if self._burst is not None or planner is None or batch is None or plan.reason is Reason.ONLY_ALLOWED:
            return
        view = outlook(plan, batch, planner.bias, self._estimator)
        if view is None:
            return
        passed, self._passed = self._passed, 0.0
        tokens = expected_tokens(view.estimates, plan.allowed[view.current]) or 1.0
        rate = batch * tokens / view.seconds[view.current]
        found = options(view)
        if planner.bias.cold and self._prober.steps >= BASELINE_AFTER_STEPS:
            # A profile grows from what is seen here, and none is one without the K that all others are compared with.
            least = plan.allowed[0]
            if self._cells.known(least) < BASELINE_CELLS:
                found = with_baseline(found, least)
        self._burst = self._prober.consider(found, batch=batch, seconds=passed, tokens_per_second=rate)

    def _rebuild(self, estimates: tuple[PositionEstimate, ...] | None = None) -> None:
        """``estimates``: where they are known already."""
        settings = self._settings
        if settings is None:
            return
        self.rebuilds += 1
        if settings.mode == "table" and settings.table is not None:
            table = restrict(settings.table, settings.allowed, self._limits.max_num_seqs)
            self._install(Plan(table, Reason.TABLE))
        elif self._planner is None:
            reason = Reason.ONLY_ALLOWED if len(settings.allowed) == 1 else Reason.NO_LATENCY_MODEL
            self._install(Plan(restrict(self._startup, settings.allowed, self._limits.max_num_seqs), reason))
        else:
            known = self._plan.situation
            situation = self._monitor.situation(settings.latency, self._planner.per_prefill_token, known)
            self._planned = self._monitor.batches(self._limits.max_num_seqs)
            estimates = estimates or self._estimator.estimate()
            plan, startup = self._plan, self._startup
            recent = self._left.at(self._now, estimates, settings.allowed[-1])
            self._install(self._planner.plan(estimates, situation, plan, startup, self._planned, recent=recent))
            self._next = self._look

    def _install(self, plan: Plan) -> None:
        if self._batch is not None:
            before, after = self._plan.table.at(self._batch), plan.table.at(self._batch)
            if before != after:
                self._left.leave(before, self._now, plan.tokens[-1] if plan.tokens else None)
        self._plan = plan
        self._entries = plan.table.entries
        self._prefill_entries = (plan.prefill_table or plan.table).entries
