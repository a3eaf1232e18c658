"""What hangs on one scheduler: engine loop, telemetry, control. Its hooks run in the hot path and never raise."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.probing import ProbeReport
from turbospec.control.served_cells import ServedCell
from turbospec.control.step import StepComposition, StepRecord
from turbospec.engine.composition import CompositionReader
from turbospec.engine.environment import logger
from turbospec.engine.methods import Steering
from turbospec.engine.records import StepRing
from turbospec.engine.requests import RequestCounter
from turbospec.engine.telemetry import (
    DraftCounts,
    ScheduledStep,
    StepTelemetry,
    count_drafts,
    counts_from_stats,
    thrown_away,
)
from turbospec.wire.engine_state import EngineInfo, EngineLimits, Unsupported
from turbospec.wire.identity import ProfileIdentity

MAX_ARRIVED = 8
"""Steps kept for the next running step; vLLM may leave out the call that takes them in (structured outputs)."""

MAX_HELD = 256
"""Records kept while another thread has the loop for longer; older ones are then dropped."""


_Arrived = tuple[ScheduledStep, Any, Any, float, Any, list[int] | None]
"""A completed step before it is taken in: with its output, the model's, when, and what is known of its drafts."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What start-up fixed and never changes."""

    info: EngineInfo
    identity: ProfileIdentity
    limits: EngineLimits
    unsupported: Unsupported | None
    startup_table: tuple[int, ...]
    drafts_after_completion: bool
    steering: Steering | None = None
    """None where K cannot be steered, or where nobody has read what becomes of it."""


class EngineRuntime:
    """The hooks of one scheduler and what other threads may ask of it.

    Threads: the hooks run in the engine's thread. ``configure`` and the readers run in any other. The engine's thread
    takes no lock it could wait for: while another thread has the loop, records wait for a later step. Between a step's
    tokens and the next step's dispatch the accelerator waits for us: what is not needed to choose K is only noted down
    there, and taken in when the next step is running.
    Any exception in a hook ends our part in the engine, never the engine: it goes on with its start-up table.
    """

    def __init__(self, scheduler: Any, facts: EngineFacts) -> None:
        self.facts = facts
        self.started = time.monotonic()
        self.ring = StepRing()
        self.requests = RequestCounter()
        self.next_seq = 0
        self.killed = False
        self._failed: Unsupported | None = None
        self._scheduler = scheduler
        self._reader = CompositionReader()
        # Of the step that is being completed: vLLM's sums over its drafts, or the tokens by request for our own.
        self._stats: Any = None
        self._lengths: list[int] | None = None
        self._arrived: list[_Arrived] = []
        self._scheduled: tuple[int, Any, StepComposition, int, int] | None = None
        self._unfed: list[StepRecord] = []
        self._count_ourselves = not getattr(scheduler, "log_stats", False)
        self._loop_lock = threading.Lock()
        limits = facts.limits
        self._allowed = frozenset(limits.allowed_draft_tokens)
        self._drafts = limits.max_draft_tokens > 0
        self.loop_limits = LoopLimits(
            max_num_seqs=limits.max_num_seqs,
            max_draft_tokens=limits.max_draft_tokens,
            engine_allowed=tuple(limits.allowed_draft_tokens),
            graph_sizes=tuple(limits.graph_sizes),
            max_num_batched_tokens=limits.max_num_batched_tokens,
        )
        self.loop = EngineLoop(self.loop_limits, facts.startup_table) if facts.unsupported is None else None
        self.telemetry = StepTelemetry(limits.max_draft_tokens, drafts_after_completion=facts.drafts_after_completion)

    # Hooks, in the order in which a step passes them.

    def step_scheduled(self, output: Any) -> None:
        """Puts K into a step that was just composed, before vLLM makes its own bookkeeping of it."""
        if self._failed is not None:
            return
        try:
            if self._scheduled is not None:  # vLLM has left out the call that says that it is running
                self._announce()
            if not output.total_num_scheduled_tokens:
                if output.finished_req_ids:
                    self.telemetry.ended(output.finished_req_ids)
                    self.requests.scheduled(output, self._scheduler.requests, 0)
                self._take_in()
                self.telemetry.scheduled_nothing()
                return
            # The number is taken before K is looked up: a document acknowledged with step s decides s and all after it.
            seq = self.next_seq
            self.next_seq = seq + 1
            scheduler = self._scheduler
            composition = self._reader.read(output, len(scheduler.waiting))
            if self.loop is not None and not self.killed:
                draft_tokens = self.loop.draft_tokens(composition)
                # Any other K would trip an assertion in the worker and end the engine.
                if draft_tokens in self._allowed:
                    output.num_spec_tokens_to_schedule = draft_tokens
            # vLLM from 0.33 on, model runner V2: nothing is drafted after a step whose requests cannot use drafts.
            drafts = self._drafts and not getattr(output, "skip_drafts", False)
            decided = output.num_spec_tokens_to_schedule if drafts else 0
            self._scheduled = (seq, output, composition, self._reader.verified_draft_tokens, decided)
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def step_running(self) -> None:
        """A step was sent to the workers: while they compute, the steps before it are taken in and learnt from."""
        if self._failed is not None:
            return
        try:
            if self._scheduled is not None:
                self._announce()
            self._take_in()
            if self._unfed:
                self._feed()
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def step_arrived(self, model_output: Any) -> None:
        """Tokens have arrived. Where vLLM does not sum up the drafts we do, before stop rules cut the tokens."""
        self._stats = None
        if self._count_ourselves and self._failed is None:
            try:
                self._lengths = list(map(len, model_output.sampled_token_ids))
            except Exception as error:  # noqa: BLE001 - see the class
                self._give_up(error)

    def stats_made(self, spec_decoding_stats: Any) -> None:
        """vLLM has summed up the drafts of the step that is being completed."""
        self._stats = spec_decoding_stats

    def step_completed(self, output: Any, model_output: Any, now: float) -> None:
        """A step's tokens are known and vLLM has taken them in. ``now`` is when they arrived (monotonic seconds)."""
        if self._failed is not None:
            return
        try:
            stats, lengths, self._stats, self._lengths = self._stats, self._lengths, None, None
            if not output.total_num_scheduled_tokens:
                return
            if self._scheduled is not None:
                self._announce()
            step = self.telemetry.arrived(output)
            if step is not None:
                self._arrived.append((step, output, model_output, now, stats, lengths))
            scheduler = self._scheduler
            if not scheduler.running and not scheduler.waiting:
                self._take_in()  # nobody waits for us now, and no later step would do it
                self.telemetry.drained()
            elif len(self._arrived) > MAX_ARRIVED:
                self._take_in()
                self._feed()
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def settle(self) -> None:
        """Takes in what has arrived, without waiting for the next step; for the engine's thread."""
        self._take_in()

    # What other threads ask.

    def configure(self, settings: LoopSettings) -> None:
        """Puts settings in force. Raises ValueError where the loop refuses them; then nothing has changed."""
        if self.loop is not None:
            with self._loop_lock:
                self.loop.configure(settings)

    def unsupported(self) -> Unsupported | None:
        """Why K is not steered now; None where it is."""
        if self._failed is not None:
            return self._failed
        if self.killed:
            return Unsupported(
                code="KillSwitch", message="the kill switch is on: the start-up table decides until it is off"
            )
        return self.facts.unsupported

    @property
    def failed(self) -> bool:
        """Our part in this engine has ended with an error."""
        return self._failed is not None

    def estimates(self) -> tuple[PositionEstimate, ...]:
        """Acceptance and yield by position; empty where K is never steered."""
        if self.loop is None:
            return ()
        with self._loop_lock:
            return self.loop.estimates()

    def cells(self) -> tuple[ServedCell, ...]:
        """Step times by cell, as traffic has visited them; empty where K is never steered."""
        if self.loop is None:
            return ()
        with self._loop_lock:
            return self.loop.cells()

    def probe_report(self) -> ProbeReport | None:
        """What probing has cost; None where K is never steered."""
        if self.loop is None:
            return None
        with self._loop_lock:
            return self.loop.probe_report()

    def save(self) -> dict[str, Any] | None:
        """What the loop has learnt, as plain lists and numbers; None where K is never steered."""
        if self.loop is None:
            return None
        with self._loop_lock:
            return self.loop.save()

    def restore(self, saved: dict[str, Any]) -> None:
        """Goes on from what ``save`` said. Raises what reading a dictionary of another shape raises."""
        if self.loop is not None:
            with self._loop_lock:
                self.loop.restore(saved)

    def table(self) -> tuple[int, ...]:
        """K by batch as now decided, index 0 unused."""
        if self.loop is None or self.unsupported() is not None:
            return self.facts.startup_table
        return self.loop.table()

    def occupancy(self) -> tuple[int, int, float]:
        """Requests running and waiting, and the share of the KV cache in use."""
        scheduler = self._scheduler
        running, waiting = scheduler.get_request_counts()
        return int(running), int(waiting), float(scheduler.kv_cache_manager.usage)

    def _announce(self) -> None:
        """Tells the telemetry of the step that was last scheduled."""
        scheduled, self._scheduled = self._scheduled, None
        if scheduled is None:
            return
        seq, output, composition, verified, decided = scheduled
        if output.finished_req_ids:
            self.telemetry.ended(output.finished_req_ids)
        self.requests.scheduled(output, self._scheduler.requests, composition.prefill_tokens)
        step = self.telemetry.scheduled(seq, output, composition, verified, decided)
        step.kv_tokens = self._reader.context(output, self._scheduler.requests)

    def _take_in(self) -> None:
        """Makes records of the steps that have arrived."""
        if not self._arrived:
            return
        arrived, self._arrived = self._arrived, []
        for step, output, model_output, now, stats, lengths in arrived:
            generated, gone_decodes = sum(map(len, model_output.sampled_token_ids)), 0
            if step.gone is not None:
                lost, gone_decodes = thrown_away(step.gone, output, model_output)
                generated -= lost
            counts = self._count(step, output, model_output, stats, lengths)
            record = self.telemetry.record(step, now, counts, generated, gone_decodes)
            self.ring.append(record)
            self._unfed.append(record)

    def _count(
        self, step: ScheduledStep, output: Any, model_output: Any, stats: Any, lengths: list[int] | None
    ) -> DraftCounts:
        none = self.telemetry.no_drafts
        if lengths is not None:
            return count_drafts(output, model_output.req_id_to_index, lengths, step.gone, none)
        if stats is None:
            return none
        counts = counts_from_stats(stats, none)
        if counts is None:
            # A release that does not count drafted positions: from the next step on we do.
            self._count_ourselves = True
            return none
        return counts

    def _feed(self) -> None:
        records = self._unfed
        if self.loop is None:
            records.clear()
        elif self._loop_lock.acquire(blocking=False):
            try:
                for record in records:
                    self.loop.observe(record)
                records.clear()
            finally:
                self._loop_lock.release()
        elif len(records) > MAX_HELD:
            del records[: len(records) - MAX_HELD]

    def _give_up(self, error: Exception) -> None:
        """From here on the engine runs as if TurboSpec were not there, by its start-up table."""
        self._failed = Unsupported(code="RuntimeFailed", message=f"stopped after {type(error).__name__}: {error}"[:500])
        logger.error("TurboSpec stops steering this engine; serving goes on with the start-up table", exc_info=error)
