"""What hangs on one scheduler: engine loop, telemetry, control. Its hooks run in the hot path and never raise."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.probing import ProbeReport
from turbospec.control.served_cells import ServedCell
from turbospec.engine.environment import logger
from turbospec.engine.intake import StepIntake
from turbospec.engine.methods import Steering
from turbospec.engine.records import StepRing
from turbospec.engine.requests import RequestCounter
from turbospec.engine.telemetry import StepTelemetry
from turbospec.wire.engine_state import EngineInfo, EngineLimits, Unsupported
from turbospec.wire.identity import ProfileIdentity

MAX_HELD = 256
"""Records kept while another thread has the loop for longer; older ones are then dropped."""


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
        limits = facts.limits
        self.facts = facts
        self.started = time.monotonic()
        self.intake = StepIntake(
            scheduler, limits.max_draft_tokens, drafts_after_completion=facts.drafts_after_completion
        )
        self.next_seq = 0
        self.killed = False
        self._failed: Unsupported | None = None
        self._scheduler = scheduler
        self._loop_lock = threading.Lock()
        self._allowed = {k: k for k in limits.allowed_draft_tokens}
        self.loop_limits = LoopLimits(
            max_num_seqs=limits.max_num_seqs,
            max_draft_tokens=limits.max_draft_tokens,
            engine_allowed=tuple(limits.allowed_draft_tokens),
            graph_sizes=tuple(limits.graph_sizes),
            max_num_batched_tokens=limits.max_num_batched_tokens,
        )
        self.loop = EngineLoop(self.loop_limits, facts.startup_table) if facts.unsupported is None else None

    # Hooks, in the order in which a step passes them.

    def step_scheduled(self, output: Any) -> None:
        """Puts K into a step that was just composed, before vLLM makes its own bookkeeping of it."""
        if self._failed is not None:
            return
        try:
            intake = self.intake
            intake.announce()  # does nothing but where vLLM has left out the call that says that a step is running
            if not output.total_num_scheduled_tokens:
                intake.scheduled_nothing(output)
                return
            # The number is taken before K is looked up: a document acknowledged with step s decides s and all after it.
            seq = self.next_seq
            self.next_seq = seq + 1
            composition = intake.compose(output)
            if self.loop is not None and not self.killed:
                # Any other K would trip an assertion in the worker and end the engine; so would an equal one that is
                # no int.
                draft_tokens = self._allowed.get(self.loop.draft_tokens(composition))
                if draft_tokens is not None:
                    output.num_spec_tokens_to_schedule = draft_tokens
            intake.scheduled(seq, output, composition)
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def step_running(self) -> None:
        """A step was sent to the workers: while they compute, the steps before it are taken in and learnt from."""
        if self._failed is not None:
            return
        try:
            self.intake.announce()
            self._learn()
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def step_arrived(self, model_output: Any) -> None:
        """Tokens have arrived."""
        if self._failed is not None:
            return
        try:
            self.intake.tokens_arrived(model_output)
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def stats_made(self, spec_decoding_stats: Any) -> None:
        """vLLM has summed up the drafts of the step that is being completed."""
        self.intake.stats = spec_decoding_stats

    def step_completed(self, output: Any, model_output: Any, now: float) -> None:
        """A step's tokens are known and vLLM has taken them in. ``now`` is when they arrived (monotonic seconds)."""
        if self._failed is not None:
            return
        try:
            self.intake.completed(output, model_output, now)
            if self.intake.overdue:
                self._learn()
        except Exception as error:  # noqa: BLE001 - see the class
            self._give_up(error)

    def settle(self) -> None:
        """Takes in what has arrived, without waiting for the next step; for the engine's thread."""
        self.intake.take_in()

    # What other threads ask.

    @property
    def ring(self) -> StepRing:
        """The last step records."""
        return self.intake.ring

    @property
    def requests(self) -> RequestCounter:
        """How many requests came, and how long they were."""
        return self.intake.requests

    @property
    def telemetry(self) -> StepTelemetry:
        """Totals of all steps."""
        return self.intake.telemetry

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

    def _learn(self) -> None:
        """Feeds the engine loop with what has arrived, unless another thread has it: then with a later step."""
        self.intake.take_in()
        records = self.intake.new
        if not records:
            return
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
