"""What one engine step works on, and what is known of it afterwards."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepComposition:
    """The coming step as the scheduler has just composed it, before its draft length K is chosen.

    ``kv_tokens`` is the sum of the context lengths of the scheduled requests (tokens whose KV cache the step reads).
    """

    decodes: int
    prefill_tokens: int
    kv_tokens: int
    waiting: int


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One completed engine step.

    ``interval_seconds`` is completion to completion, and None where the interval holds anything but this step's work
    (the queue was empty before it, or it is the first step). ``interval_draft_tokens`` is the K that the interval was
    really spent on, which on an asynchronous or model-runner-V1 engine is not the K decided in the step: the engine
    adapter pairs them. ``verified_draft_tokens`` counts the draft tokens verified in the step, all requests together.
    ``drafted_per_position[j]`` counts the requests whose verified draft had more than j tokens,
    ``accepted_per_position[j]`` those whose draft was accepted beyond j tokens; both have the length of the engine's
    maximum K.
    ``drafting_requests`` counts the requests of this step that were *asked* for a draft at the K in force when the
    verified drafts were proposed (``asked_draft_tokens``): the base of the yield. It is 0 where that K was 0.
    """

    seq: int
    ended_seconds: float
    interval_seconds: float | None
    interval_draft_tokens: int
    decided_draft_tokens: int
    decodes: int
    prefill_tokens: int
    kv_tokens: int
    waiting: int
    generated_tokens: int
    verified_draft_tokens: int
    asked_draft_tokens: int
    drafting_requests: int
    drafted_per_position: tuple[int, ...]
    accepted_per_position: tuple[int, ...]


def possible(record: StepRecord) -> bool:
    """Whether the numbers of a record can be true; comparisons with NaN are false."""
    interval = record.interval_seconds
    return (
        0 <= record.decodes < math.inf
        and 0 <= record.prefill_tokens < math.inf
        and 0 <= record.kv_tokens < math.inf
        and 0 <= record.verified_draft_tokens < math.inf
        and 0 <= record.waiting < math.inf
        and (interval is None or 0.0 < interval < math.inf)
    )
