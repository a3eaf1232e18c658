"""The class that is mixed into whatever scheduler vLLM picked. Its methods do vLLM's work first and ours beside it."""

import time
from typing import TYPE_CHECKING, Any

from turbospec.engine.environment import logger
from turbospec.engine.startup import AttachedRuntime, attach
from turbospec.engine.trimming import DraftTrimmer, draft_trimmer

if TYPE_CHECKING:
    from vllm.v1.core.sched.scheduler import Scheduler as _Base
else:
    _Base = object

SEAMS = (
    "_update_after_schedule",
    "get_grammar_bitmask",
    "update_from_output",
    "make_stats",
    "update_draft_token_ids",
)
"""The methods of vLLM's scheduler that are extended; a class without them is left as it is."""


class TurboSpecMixin(_Base):
    """Sets K of every step and records what became of it. Where anything of ours fails, the engine serves untouched."""

    _turbospec: AttachedRuntime | None = None
    _turbospec_trimmer: DraftTrimmer | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            # First: K of a speculator that has to be trimmed may never be steered without its trimmer.
            self._turbospec_trimmer = draft_trimmer(self)
            self._turbospec = attach(self)
        except Exception:  # noqa: BLE001 - the boundary to somebody else's serving engine: nothing may get through
            logger.warning("TurboSpec could not start; the engine serves without it", exc_info=True)

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        # vLLM makes the next step's placeholders from K inside this call: it has to be set before.
        if self._turbospec is not None:
            self._turbospec.runtime.step_scheduled(scheduler_output)
        super()._update_after_schedule(scheduler_output)
        if self._turbospec_trimmer is not None:
            self._turbospec_trimmer.scheduled(scheduler_output)

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """As vLLM's, which synchronous engines call between two steps."""
        trimmer = self._turbospec_trimmer
        super().update_draft_token_ids(draft_token_ids if trimmer is None else trimmer.cut(draft_token_ids))

    def get_grammar_bitmask(self, *args: Any, **kwargs: Any) -> Any:
        """As vLLM's, which asks for it right after it has sent the step to the workers."""
        bitmask = super().get_grammar_bitmask(*args, **kwargs)
        if self._turbospec is not None:
            self._turbospec.runtime.step_running()
        return bitmask

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """As vLLM's."""
        attached = self._turbospec
        if attached is None:
            return super().update_from_output(scheduler_output, model_runner_output)
        now = time.monotonic()
        attached.runtime.step_arrived(model_runner_output)
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        attached.runtime.step_completed(scheduler_output, model_runner_output, now)
        return outputs

    def make_stats(self, spec_decoding_stats: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As vLLM's."""
        if self._turbospec is not None:
            self._turbospec.runtime.stats_made(spec_decoding_stats)
        return super().make_stats(spec_decoding_stats, *args, **kwargs)

    def shutdown(self) -> None:
        """As vLLM's."""
        attached, self._turbospec = self._turbospec, None
        try:
            if attached is not None:
                attached.detach()
        except Exception:  # noqa: BLE001 - the boundary to somebody else's serving engine: nothing may get through
            logger.warning("TurboSpec did not shut down cleanly", exc_info=True)
        super().shutdown()


def mixed_with(base: type) -> type:
    """``base`` with the mixin in front of it; ``base`` itself where it has the mixin or lacks a seam."""
    if issubclass(base, TurboSpecMixin):
        return base
    missing = [name for name in SEAMS if not callable(getattr(base, name, None))]
    if missing:
        logger.warning("TurboSpec leaves scheduler %s alone: it has no %s", base.__name__, ", ".join(missing))
        return base
    return type(f"TurboSpec{base.__name__}", (TurboSpecMixin, base), {"__module__": __name__})
