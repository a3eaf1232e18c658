"""Turns scheduled and completed steps into StepRecords that pair every interval with the K it was really spent on.

Which K an interval was spent on follows from when drafts are proposed. K_n is the K decided when step n was
scheduled: the
drafts proposed after step n sampled, and verified in step n + 1. Intervals run from completion to completion.

- Model runner V1 (and any synchronous scheduler): step n completes after it has also proposed the drafts for
  step n + 1. The
  interval ending with step n is verification of K_(n-1) plus drafting at K_n: it has one K only where both are equal.
- Model runner V2, asynchronous: step n completes when its tokens are sampled, the drafts follow. The interval
  ending with
  step n is drafting at K_(n-1) plus verification of K_(n-1): always one K, the one decided a step earlier.

An interval with two K in it, or one that began with an empty queue, says nothing of either K: its seconds are None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turbospec.control.step import StepComposition, StepRecord
from turbospec.engine.composition import asked_for_drafts

MAX_IN_FLIGHT = 64
"""More steps than any pipeline holds: beyond it their outputs were dropped (an engine resetting itself), and
so are ours."""


@dataclass(frozen=True, slots=True)
class DraftCounts:
    """What the drafts of one step came to, over all its requests."""

    drafts: int
    draft_tokens: int
    accepted_tokens: int
    drafted_per_position: tuple[int, ...]
    accepted_per_position: tuple[int, ...]


@dataclass(slots=True)
class Totals:
    """Sums since the engine started; written by the engine's thread only."""

    max_draft_tokens: int
    steps: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    generated_tokens: int = 0
    drafted_per_position: list[int] = field(default_factory=list)
    accepted_per_position: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.drafted_per_position = [0] * self.max_draft_tokens
        self.accepted_per_position = [0] * self.max_draft_tokens

    def add(self, counts: DraftCounts, generated_tokens: int) -> None:
        """Adds one step."""
        self.steps += 1
        self.generated_tokens += generated_tokens
        if counts.drafts:
            self.drafts += counts.drafts
            self.draft_tokens += counts.draft_tokens
            self.accepted_tokens += counts.accepted_tokens
            # New lists, so that a reader on another thread sees one step's sums or the next one's, never half of both.
            self.drafted_per_position = [
                a + b for a, b in zip(self.drafted_per_position, counts.drafted_per_position, strict=True)
            ]
            self.accepted_per_position = [
                a + b for a, b in zip(self.accepted_per_position, counts.accepted_per_position, strict=True)
            ]


@dataclass(slots=True)
class ScheduledStep:
    """A step between its scheduling and its completion.

    ``gone``: requests that ended after the step was scheduled. Its work on them is done and thrown away: it took time,
    but nobody gets its tokens, and vLLM does not count its drafts.
    """

    seq: int
    composition: StepComposition
    decided: int
    previous_decided: int
    verified_draft_tokens: int
    drafting_requests: int
    kv_tokens: int
    gone: set[str] | None = None


class StepTelemetry:
    """Pairs schedule and completion of steps. All calls come from the engine's thread."""

    def __init__(self, max_draft_tokens: int, *, drafts_after_completion: bool) -> None:
        self.totals = Totals(max_draft_tokens)
        self._drafts_after_completion = drafts_after_completion
        self._in_flight: dict[int, ScheduledStep] = {}
        self._previous_decided = 0
        self._previous_end: float | None = None
        zeros = (0,) * max_draft_tokens
        self.no_drafts = DraftCounts(0, 0, 0, zeros, zeros)

    def scheduled(
        self, seq: int, output: Any, composition: StepComposition, verified: int, decided: int
    ) -> ScheduledStep:
        """A step with work was scheduled and ``decided`` was put into it. ``kv_tokens`` may be made exact later."""
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            self._in_flight.clear()
            self._previous_end = None
        previous = self._previous_decided
        step = ScheduledStep(
            seq,
            composition,
            decided,
            previous,
            verified,
            asked_for_drafts(output, composition.decodes) if previous else 0,
            composition.kv_tokens,
        )
        self._in_flight[id(output)] = step
        self._previous_decided = decided
        return step

    def ended(self, requests: set[str]) -> None:
        """These requests have ended; steps in flight still work on them."""
        for step in self._in_flight.values():
            step.gone = requests if step.gone is None else step.gone | requests

    def scheduled_nothing(self) -> None:
        """A step without work was scheduled: unless others are in flight, the accelerator now idles."""
        if not self._in_flight:
            self._previous_end = None

    def completed(
        self, output: Any, now: float, counts: DraftCounts, generated_tokens: int, gone_decodes: int = 0
    ) -> StepRecord | None:
        """The record of a step that completed at ``now`` (monotonic seconds); None for one that was not announced.

        Of its decodes ``gone_decodes`` had ended before; ``generated_tokens`` are those of the others.
        """
        step = self.arrived(output)
        return None if step is None else self.record(step, now, counts, generated_tokens, gone_decodes)

    def arrived(self, output: Any) -> ScheduledStep | None:
        """The step's tokens are there; None for one that was not announced. O(1): ``record`` does the rest later."""
        return self._in_flight.pop(id(output), None)

    def record(
        self, step: ScheduledStep, now: float, counts: DraftCounts, generated_tokens: int, gone_decodes: int = 0
    ) -> StepRecord:
        """The record of a step that arrived at ``now``; steps are recorded in the order in which they arrived."""
        interval = None if self._previous_end is None else now - self._previous_end
        if interval is not None and interval <= 0.0:  # a virtual machine that was moved may have set its clock back
            interval = None
        self._previous_end = now
        mixed = not self._drafts_after_completion and step.decided != step.previous_decided
        self.totals.add(counts, generated_tokens)
        return StepRecord(
            seq=step.seq,
            ended_seconds=now,
            interval_seconds=None if mixed else interval,
            interval_draft_tokens=step.previous_decided,
            decided_draft_tokens=step.decided,
            decodes=step.composition.decodes,
            prefill_tokens=step.composition.prefill_tokens,
            kv_tokens=step.kv_tokens,
            waiting=step.composition.waiting,
            generated_tokens=generated_tokens,
            verified_draft_tokens=step.verified_draft_tokens,
            asked_draft_tokens=step.previous_decided,
            drafting_requests=max(0, step.drafting_requests - gone_decodes),
            drafted_per_position=counts.drafted_per_position,
            accepted_per_position=counts.accepted_per_position,
        )

    def drained(self) -> None:
        """No request is left: time until the next completion belongs to nobody, unless a step is still in flight."""
        if not self._in_flight:
            self._previous_end = None


def thrown_away(gone: set[str], output: Any, model_output: Any) -> tuple[int, int]:
    """Of the requests of a step that have ended since it was scheduled: tokens sampled, and decodes among them."""
    tokens = decodes = 0
    for name in gone:
        count = output.num_scheduled_tokens.get(name)
        if count is None:
            continue
        index = model_output.req_id_to_index.get(name)
        tokens += len(model_output.sampled_token_ids[index]) if index is not None else 0
        decodes += count == 1 or name in output.scheduled_spec_decode_tokens
    return tokens, decodes


def counts_from_stats(stats: Any, none: DraftCounts) -> DraftCounts | None:
    """From vLLM's own SpecDecodingStats of the step, O(1); None where this release counts no drafted positions."""
    drafted = getattr(stats, "num_draft_tokens_per_pos", None)
    if not drafted or len(drafted) != len(none.drafted_per_position):
        return None
    return DraftCounts(
        drafts=stats.num_drafts,
        draft_tokens=stats.num_draft_tokens,
        accepted_tokens=stats.num_accepted_tokens,
        drafted_per_position=tuple(drafted),
        accepted_per_position=tuple(stats.num_accepted_tokens_per_pos),
    )


def count_drafts(
    output: Any, index_of: Mapping[str, int], lengths: Sequence[int], gone: set[str] | None, none: DraftCounts
) -> DraftCounts:
    """Own count over the step's requests but those that have ended, for engines started with --disable-log-stats.

    ``lengths[index_of[name]]`` is how many tokens were sampled for a request.
    """
    drafts_by_request = output.scheduled_spec_decode_tokens
    if not drafts_by_request or not lengths:
        return none
    size = len(none.drafted_per_position)
    drafted_lengths, accepted_lengths = [0] * (size + 1), [0] * (size + 1)
    invalid = getattr(output, "num_invalid_spec_tokens", None) or {}
    for name, tokens in drafts_by_request.items():
        index = index_of.get(name)
        generated = lengths[index] if index is not None else 0
        if generated and tokens and not (gone and name in gone):
            drafted_lengths[max(0, min(size, len(tokens) - invalid.get(name, 0)))] += 1
            accepted_lengths[max(0, min(size, generated - 1))] += 1
    return DraftCounts(
        drafts=sum(drafted_lengths),
        draft_tokens=sum(length * count for length, count in enumerate(drafted_lengths)),
        accepted_tokens=sum(length * count for length, count in enumerate(accepted_lengths)),
        drafted_per_position=_longer_than(drafted_lengths),
        accepted_per_position=_longer_than(accepted_lengths),
    )


def _longer_than(histogram: list[int]) -> tuple[int, ...]:
    """For each position j, how many lengths exceed j."""
    total, result = 0, []
    for count in reversed(histogram[1:]):
        total += count
        result.append(total)
    return tuple(reversed(result))
