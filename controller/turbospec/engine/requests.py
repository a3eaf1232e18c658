"""Counts the requests of one engine: how many came, how long they were. K has no part in any of it."""

from collections.abc import Mapping
from typing import Any

from turbospec.engine.environment import logger
from turbospec.wire.engine_state import RequestCounters


class RequestCounter:
    """Counts since the engine started, from what its scheduler says of each step.

    All calls come from the engine's thread and cost O(requests that began or ended in the step); ``counters`` may be
    asked from any thread. A release of vLLM that keeps requests differently ends the counting, and nothing else.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self.admitted = 0
        self.prompt_tokens = 0
        self.prefill_tokens = 0
        self.finished = 0
        self.output_tokens = 0
        self._ended = 0
        self._known = True
        # vLLM forgets a request when it ends, before we hear of it; its output is counted then.
        self._admitted: dict[str, Any] = {}

    def scheduled(self, output: Any, requests: Mapping[str, Any], prefill_tokens: int) -> None:
        """A step was scheduled. ``requests`` are all that the scheduler has, waiting ones too."""
        if not self._known:
            return
        try:
            self.ended(output.finished_req_ids)
            for new in output.scheduled_new_reqs:
                request = requests.get(new.req_id)
                # One that was preempted and comes back may be announced as new once more.
                if request is not None and new.req_id not in self._admitted:
                    self._admitted[new.req_id] = request
                    self.began(request.num_prompt_tokens)
            self.prefill_tokens += prefill_tokens
            self.arrived = max(self.arrived, self._ended + len(requests))
        except (AttributeError, TypeError) as error:
            self._known = False
            logger.warning("requests are not counted: this vLLM keeps them differently (%s)", error)

    def ended(self, names: set[str]) -> None:
        """These requests have ended; those that were never admitted have no length."""
        for name in names:
            self._ended += 1
            request = self._admitted.pop(name, None)
            if request is not None:
                self.went(request.num_output_tokens)

    def began(self, prompt_tokens: int) -> None:
        """A request was admitted."""
        self.admitted += 1
        self.prompt_tokens += prompt_tokens

    def went(self, output_tokens: int) -> None:
        """An admitted request has ended, complete or not, with so many tokens."""
        self.finished += 1
        self.output_tokens += output_tokens

    def counters(self) -> RequestCounters | None:
        """As /v1/state reports them; None where they are not known."""
        if not self._known:
            return None
        return RequestCounters(
            arrived=self.arrived,
            admitted=self.admitted,
            prompt_tokens=self.prompt_tokens,
            prefill_tokens=self.prefill_tokens,
            finished=self.finished,
            output_tokens=self.output_tokens,
        )
