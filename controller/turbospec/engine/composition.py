"""What the scheduler has just put into a step, read at a cost that hardly grows with the batch."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from turbospec.control.step import StepComposition

EXACT_CONTEXT_BATCH = 64
"""Up to this batch the context is summed on every step (50 ns a request); above it on every CONTEXT_INTERVAL-th one,
when it is running."""

CONTEXT_INTERVAL = 8
"""In 8 steps a context of hundreds of tokens grows by a few tokens per request: far below what changes the best K."""

_computed = attrgetter("num_computed_tokens")


class CompositionReader:
    """Reads one StepComposition per step. Call it before vLLM advances ``num_computed_tokens`` for the step.

    Decodes and prefill need no loop on a step without prefill: every request then has exactly one token beside
    its drafts.
    """

    def __init__(self) -> None:
        self._mean_context = 0.0
        self._counted_batch = 0
        self._until_count = 0

    def read(self, output: Any, requests: Mapping[str, Any], waiting: int) -> tuple[StepComposition, int]:
        """The composition, and how many draft tokens the step verifies."""
        scheduled: dict[str, int] = output.num_scheduled_tokens
        drafts: dict[str, list[int]] = output.scheduled_spec_decode_tokens
        batch = len(scheduled)
        draft_tokens = sum(map(len, drafts.values())) if drafts else 0
        decodes, prefill = batch, 0
        if output.total_num_scheduled_tokens != batch + draft_tokens:
            # Only decodes have drafts, and a decode without drafts is one token: what is left is prefill.
            chunks = [count for name, count in scheduled.items() if count > 1 and name not in drafts]
            decodes, prefill = batch - len(chunks), sum(chunks)
        composition = StepComposition(
            decodes=decodes,
            prefill_tokens=prefill,
            kv_tokens=self._context(scheduled, requests),
            waiting=waiting,
        )
        return composition, draft_tokens

    def recount(self, output: Any, requests: Mapping[str, Any]) -> None:
        """Counts the context of a large batch, where it is due; called when the step is running, which is after vLLM
        has advanced ``num_computed_tokens`` by what was scheduled."""
        if self._until_count > 1 or len(output.num_scheduled_tokens) <= EXACT_CONTEXT_BATCH:
            return
        try:
            self._count(output.num_scheduled_tokens, requests, output.total_num_scheduled_tokens)
        except KeyError:  # vLLM asked late, and a request has ended meanwhile: the next step will do
            return

    def _context(self, scheduled: dict[str, int], requests: Mapping[str, Any]) -> int:
        batch = len(scheduled)
        if batch <= EXACT_CONTEXT_BATCH or abs(batch - self._counted_batch) * 8 > self._counted_batch:
            return self._count(scheduled, requests, 0)
        self._until_count -= 1
        return round(self._mean_context * batch)

    def _count(self, scheduled: dict[str, int], requests: Mapping[str, Any], advanced: int) -> int:
        batch = len(scheduled)
        total = int(sum(map(_computed, map(requests.__getitem__, scheduled)))) - advanced
        self._mean_context, self._counted_batch = total / batch, batch
        self._until_count = CONTEXT_INTERVAL
        return total


def asked_for_drafts(output: Any, decodes: int) -> int:
    """How many of the step's decodes ran in the step before, where drafts were proposed for them.

    A new request whose whole prompt was cached is scheduled with one token: it decodes, but nobody drafted for it yet.
    """
    new = output.scheduled_new_reqs
    if not new:
        return decodes
    scheduled = output.num_scheduled_tokens
    return max(0, decodes - sum(1 for request in new if scheduled.get(request.req_id) == 1))
