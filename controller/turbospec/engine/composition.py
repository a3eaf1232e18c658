"""What the scheduler has just put into a step, read at a cost that hardly grows with the batch."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from turbospec.control.step import StepComposition

EXACT_CONTEXT_BATCH = 64
"""Up to this batch the context is summed for every step (50 ns a request); above it for one in CONTEXT_INTERVAL."""

CONTEXT_INTERVAL = 8
"""In 8 steps a context of hundreds of tokens grows by a few tokens per request: far below what changes the best K."""

_computed = attrgetter("num_computed_tokens")


class CompositionReader:
    """Reads a step in two parts: what K is chosen by before the step is dispatched, its context when it is running.

    Decodes and prefill need no loop in Python on a step without prefill: every request then has exactly one token
    beside its drafts. Nothing is allocated that need not be: every container made before the dispatch may be the one
    that sets off Python's garbage collector.
    """

    def __init__(self) -> None:
        self._mean_context = 0.0
        self._counted_batch = 0
        self._until_count = 0
        self.verified_draft_tokens = 0
        """How many draft tokens the step last read verifies."""

    def read(self, output: Any, waiting: int) -> StepComposition:
        """The composition, with the context as it was when it was last counted."""
        scheduled: dict[str, int] = output.num_scheduled_tokens
        drafts: dict[str, list[int]] = output.scheduled_spec_decode_tokens
        batch, total = len(scheduled), output.total_num_scheduled_tokens
        drafted, decodes, rest = len(drafts), 0, total
        others = batch - drafted
        for request in output.scheduled_new_reqs:
            name = request.req_id
            if name not in drafts:
                count = scheduled[name]
                others -= 1
                rest -= count
                decodes += count == 1  # the whole prompt was cached
        # What is left are drafted decodes, and others that are decodes without drafts or in the middle of a prompt.
        if not others:
            decodes += drafted
            verified = rest - drafted
        elif not drafted and rest == others:
            decodes += others
            verified = 0
        else:
            # Only decodes have drafts, and a decode without drafts is one token: what is left is prefill.
            verified = sum(map(len, drafts.values()))
            decodes = drafted + list(scheduled.values()).count(1)
        self.verified_draft_tokens = verified
        return StepComposition(decodes, total - decodes - verified, round(self._mean_context * batch), waiting)

    def context(self, output: Any, requests: Mapping[str, Any]) -> int:
        """Tokens whose KV cache the step reads; call it when vLLM has advanced ``num_computed_tokens`` by what was
        scheduled. Exact up to EXACT_CONTEXT_BATCH requests, a few steps old above."""
        scheduled: dict[str, int] = output.num_scheduled_tokens
        batch = len(scheduled)
        self._until_count -= 1
        moved = abs(batch - self._counted_batch) * 8 > self._counted_batch
        if batch <= EXACT_CONTEXT_BATCH or self._until_count <= 0 or moved:
            try:
                computed = int(sum(map(_computed, map(requests.__getitem__, scheduled))))
            except KeyError:  # vLLM asked late, and a request has ended meanwhile
                return round(self._mean_context * batch)
            total = max(0, computed - int(output.total_num_scheduled_tokens))
            self._mean_context, self._counted_batch = total / batch, batch
            self._until_count = CONTEXT_INTERVAL
            return total
        return round(self._mean_context * batch)


def asked_for_drafts(output: Any, decodes: int) -> int:
    """How many of the step's decodes ran in the step before, where drafts were proposed for them.

    A new request whose whole prompt was cached is scheduled with one token: it decodes, but nobody drafted for it yet.
    """
    new = output.scheduled_new_reqs
    if not new:
        return decodes
    scheduled = output.num_scheduled_tokens
    return max(0, decodes - sum(1 for request in new if scheduled.get(request.req_id) == 1))
