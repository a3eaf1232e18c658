"""The ``vllm.general_plugins`` entry point. vLLM calls it, unguarded, in its API server, engine and every worker."""

import functools
import multiprocessing
import os
from typing import Any

from turbospec.engine.environment import logger, read_environment

_MARK = "_turbospec_wrapped"


def register() -> None:
    """Makes the schedulers that vLLM builds in this process ours. Cheap, idempotent, never raises."""
    try:
        environment = read_environment(os.environ)
        if environment.disabled:
            return
        _wrap_scheduler_choice()
        if environment.plain:
            _without_speculation()
        if environment.profile and multiprocessing.parent_process() is None:
            from turbospec.profiling import launch

            launch.start()
    except Exception:  # noqa: BLE001 - vLLM calls this unguarded: an error here would keep the server from starting
        logger.warning("TurboSpec could not be loaded; vLLM serves without it", exc_info=True)


def _without_speculation() -> None:
    """Has vLLM pass over every speculative option: here they meet, from the command line, a file or the model itself.

    A release that does without this method speculates all the same, and the run finds out.
    """
    from vllm.engine.arg_utils import EngineArgs

    EngineArgs.create_speculative_config = lambda *_args, **_options: None


def _wrap_scheduler_choice() -> None:
    from vllm.config.scheduler import SchedulerConfig

    from turbospec.engine.hardware import usable_cpus_at_load

    usable_cpus_at_load()
    original = SchedulerConfig.get_scheduler_cls
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def get_scheduler_cls(self: Any) -> type:
        base: type = original(self)
        try:
            from turbospec.engine.scheduler import mixed_with

            return mixed_with(base)
        except Exception:  # noqa: BLE001 - the engine must start with vLLM's own choice if ours cannot be made
            logger.warning("TurboSpec could not extend %s; vLLM serves without it", base, exc_info=True)
            return base

    setattr(get_scheduler_cls, _MARK, True)
    SchedulerConfig.get_scheduler_cls = get_scheduler_cls
