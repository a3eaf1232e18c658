"""Shorter drafts from speculators that only make their maximum: the worker is asked for all, K of them are verified."""

from copy import copy
from typing import Any

from turbospec.engine.environment import logger
from turbospec.engine.methods import DraftLength, Steering, installed_probe, model_runner, steering_of
from turbospec.engine.speculators import SpeculatorProbe


class DraftTrimmer:
    """Two hooks of one scheduler, both in the engine's thread.

    With synchronous scheduling drafts pass through the scheduler between two steps: there they are cut. With
    asynchronous scheduling (model runner V2) the scheduler reserves room for K drafts of each request, and the worker
    fills it with the first of those it made. Both happen for the K of the step that proposed the drafts.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._kept = maximum
        self._failed = False

    def scheduled(self, output: Any) -> None:
        """A step goes to the workers; vLLM's scheduler has already made its own bookkeeping of K."""
        kept = getattr(output, "num_spec_tokens_to_schedule", None)
        if kept is None:  # a release that fixes K at start-up: there is nothing to shorten
            return
        self._kept = kept
        output.num_spec_tokens_to_schedule = self._maximum

    def cut(self, drafts: Any) -> Any:
        """The drafts that the last step proposed, K of each request. Uncut where they are not what we know: vLLM
        verifies them all then, which is slower and not wrong."""
        if self._kept >= self._maximum or self._failed:
            return drafts
        try:
            # A copy: in one process the list may be the worker's own.
            shorter = copy(drafts)
            shorter.draft_token_ids = [row[: self._kept] for row in drafts.draft_token_ids]
        except (AttributeError, TypeError):
            self._failed = True
            logger.warning("TurboSpec cannot shorten the drafts of this engine", exc_info=True)
            return drafts
        return shorter


def draft_trimmer(scheduler: Any, probe: SpeculatorProbe | None = None) -> DraftTrimmer | None:
    """A trimmer where this engine's speculator needs one, steered or not: a start-up table alone would already put a
    K into a step that such a speculator refuses by an assertion, which ends the engine."""
    config = scheduler.vllm_config
    speculative = config.speculative_config
    if speculative is None or not speculative.num_speculative_tokens:
        return None
    steering = steering_of(config, model_runner(config), probe or installed_probe())
    if isinstance(steering, Steering) and steering.length is DraftLength.TRIMMED:
        return DraftTrimmer(int(scheduler.num_spec_tokens))
    return None
