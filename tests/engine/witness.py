"""A vLLM plugin of the tests: writes down what vLLM itself scheduled and drafted, one JSON list a line.

``["schedule", began, K, widths, ended]``: a step as the scheduler handed it out, ``widths`` from its own
``scheduled_spec_decode_tokens``; ``["draft", began, K]``: a draft pass of the ngram proposer in the worker.
Times are CLOCK_MONOTONIC, which all processes of the machine share.
"""

import functools
import json
import os
import time
from pathlib import Path
from typing import Any

FILE = "TURBOSPEC_TEST_WITNESS"


def register() -> None:
    """Waits for the scheduler to be chosen: importing more of vLLM before its worker is up breaks its CPU start-up."""
    from vllm.config.scheduler import SchedulerConfig

    choose = SchedulerConfig.get_scheduler_cls
    if FILE not in os.environ or getattr(choose, "_witness", False):
        return

    @functools.wraps(choose)
    def get_scheduler_cls(self: Any) -> Any:
        watch()
        return choose(self)

    vars(get_scheduler_cls)["_witness"] = True
    SchedulerConfig.get_scheduler_cls = get_scheduler_cls


def watch() -> None:
    """Wraps vLLM's own classes, below whatever is mixed in on top of them."""
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.spec_decode.ngram_proposer import NgramProposer

    if hasattr(Scheduler.schedule, "__wrapped__"):
        return
    log = Path(os.environ[FILE]).open("a", buffering=1)  # noqa: SIM115 - open as long as the engine lives
    schedule, propose = Scheduler.schedule, NgramProposer.propose

    @functools.wraps(schedule)
    def noted_schedule(self: Any, *arguments: Any) -> Any:
        began = time.monotonic()
        output = schedule(self, *arguments)
        if output.total_num_scheduled_tokens:
            k = output.num_spec_tokens_to_schedule
            widths = [len(draft) for draft in output.scheduled_spec_decode_tokens.values()]
            log.write(json.dumps(["schedule", began, k, widths, time.monotonic()]) + "\n")
        return output

    @functools.wraps(propose)
    def noted_propose(self: Any, num_speculative_tokens: int, *arguments: Any, **named: Any) -> Any:
        log.write(json.dumps(["draft", time.monotonic(), num_speculative_tokens]) + "\n")
        return propose(self, num_speculative_tokens, *arguments, **named)

    Scheduler.schedule = noted_schedule
    NgramProposer.propose = noted_propose
