"""Steps on their way from vLLM's scheduler into records: noted down while the accelerator waits, taken in later."""

from typing import Any

from turbospec.control.step import StepComposition, StepRecord
from turbospec.engine.composition import CompositionReader
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

MAX_ARRIVED = 8
"""Steps kept for the next running step; vLLM may leave out the call that takes them in (structured outputs)."""

_Arrived = tuple[ScheduledStep, Any, Any, float, Any, list[int] | None]
"""A completed step before it is taken in: with its output, the model's, when, and what is known of its drafts."""


class StepIntake:
    """Makes records of one scheduler's steps. All calls come from the engine's thread.

    What lies between a step's tokens and the next step's dispatch is O(1) and allocates little: ``compose``,
    ``scheduled``, ``tokens_arrived``, ``completed``. The rest, ``announce`` and ``take_in``, is for when a step is
    running. ``ring``, ``requests`` and the totals of ``telemetry`` may be read from any thread.
    """

    def __init__(self, scheduler: Any, max_draft_tokens: int, *, drafts_after_completion: bool) -> None:
        self.ring = StepRing()
        self.requests = RequestCounter()
        self.telemetry = StepTelemetry(max_draft_tokens, drafts_after_completion=drafts_after_completion)
        self.new: list[StepRecord] = []
        """Records that nobody has learnt from yet; whoever does takes them out."""
        self.stats: Any = None
        """vLLM's sums over the drafts of the step that is being completed."""
        self._scheduler = scheduler
        self._max_draft_tokens = max_draft_tokens
        self._reader = CompositionReader()
        # Without vLLM's sums we make our own, from the tokens by request.
        self._count_ourselves = not getattr(scheduler, "log_stats", False)
        self._lengths: list[int] | None = None
        self._arrived: list[_Arrived] = []
        self._scheduled: tuple[int, Any, StepComposition, int, int] | None = None

    def compose(self, output: Any) -> StepComposition:
        """What a step that was just scheduled works on."""
        return self._reader.read(output, len(self._scheduler.waiting))

    def scheduled(self, seq: int, output: Any, composition: StepComposition) -> None:
        """Notes the step down that ``compose`` has read, with the K that is in it now."""
        decided = 0
        # vLLM from 0.33 on, model runner V2: nothing is drafted after a step whose requests cannot use drafts.
        if self._max_draft_tokens and not getattr(output, "skip_drafts", False):
            # A release that fixes K at start-up does not tell it with each step.
            decided = getattr(output, "num_spec_tokens_to_schedule", self._max_draft_tokens)
        self._scheduled = (seq, output, composition, self._reader.verified_draft_tokens, decided)

    def scheduled_nothing(self, output: Any) -> None:
        """vLLM has made a step without work, as it does when the last requests have ended."""
        if output.finished_req_ids:
            self.telemetry.ended(output.finished_req_ids)
            self.requests.scheduled(output, self._scheduler.requests, 0)
        self.take_in()
        self.telemetry.scheduled_nothing()

    def announce(self) -> None:
        """Tells the telemetry of the step that was last scheduled, where it does not know it yet."""
        scheduled, self._scheduled = self._scheduled, None
        if scheduled is None:
            return
        seq, output, composition, verified, decided = scheduled
        if output.finished_req_ids:
            self.telemetry.ended(output.finished_req_ids)
        self.requests.scheduled(output, self._scheduler.requests, composition.prefill_tokens)
        step = self.telemetry.scheduled(seq, output, composition, verified, decided)
        step.kv_tokens = self._reader.context(output, self._scheduler.requests)

    def tokens_arrived(self, model_output: Any) -> None:
        """Where vLLM does not sum up the drafts we do, before its stop rules cut the tokens."""
        self.stats = None
        if self._count_ourselves:
            self._lengths = list(map(len, model_output.sampled_token_ids))

    def completed(self, output: Any, model_output: Any, now: float) -> None:
        """vLLM has taken the step's tokens in, which arrived at ``now`` (monotonic seconds)."""
        stats, lengths, self.stats, self._lengths = self.stats, self._lengths, None, None
        if not output.total_num_scheduled_tokens:
            return
        self.announce()
        step = self.telemetry.arrived(output)
        if step is not None:
            self._arrived.append((step, output, model_output, now, stats, lengths))
        scheduler = self._scheduler
        if not scheduler.running and not scheduler.waiting:
            self.take_in()  # nobody waits for us now, and no later step would do it
            self.telemetry.drained()

    @property
    def overdue(self) -> bool:
        """More has arrived than is left for the next running step."""
        return len(self._arrived) > MAX_ARRIVED

    def take_in(self) -> None:
        """Makes records of the steps that have arrived: in ``ring``, and in ``new`` for whoever learns from them."""
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
            self.new.append(record)

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
