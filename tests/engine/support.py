"""Drives a fake scheduler that has the mixin, in vLLM's order of calls, on a clock of its own."""

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.fakes import FakeScheduler, Output, engine_facts, model_output
from turbospec.control.step import StepRecord
from turbospec.engine import scheduler as scheduler_module
from turbospec.engine.runtime import EngineRuntime
from turbospec.engine.scheduler import mixed_with

MixedScheduler = mixed_with(FakeScheduler)


@dataclass
class Clock:
    """Monotonic seconds that pass only when told to."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Rig:
    """A scheduler with a runtime and no control server."""

    scheduler: Any
    runtime: EngineRuntime
    clock: Clock
    in_flight: deque[Output] = field(default_factory=deque)

    def step(
        self, seconds: float = 0.01, accepted: int = 0, draft_lengths: dict[str, int] | None = None
    ) -> StepRecord | None:
        """One synchronous step: schedule, run, take in, get the drafts."""
        output = self.scheduler.schedule()
        self.scheduler.get_grammar_bitmask(output)
        self.clock.now += seconds
        self.scheduler.update_from_output(output, model_output(output, accepted))
        self.scheduler.give_drafts(output, draft_lengths)
        self.runtime.settle()
        return self.runtime.ring.newest()

    def schedule(self) -> Output:
        """Schedules a step into the pipeline of an asynchronous engine."""
        output: Output = self.scheduler.schedule()
        self.scheduler.get_grammar_bitmask(output)
        self.in_flight.append(output)
        return output

    def complete(self, seconds: float = 0.01, accepted: int = 0) -> StepRecord | None:
        """Completes the oldest step of the pipeline."""
        output = self.in_flight.popleft()
        self.clock.now += seconds
        self.scheduler.update_from_output(output, model_output(output, accepted))
        self.runtime.settle()
        return self.runtime.ring.newest()

    def force(self, draft_tokens: int) -> None:
        """Every step from now on decides this K."""
        from turbospec.control.engine_loop import LoopSettings

        batches = self.runtime.facts.limits.max_num_seqs
        table = (draft_tokens,) * (batches + 1)
        self.runtime.configure(LoopSettings(mode="table", allowed=(draft_tokens,), table=table))


def make_rig(
    monkeypatch: pytest.MonkeyPatch, *, asynchronous: bool = False, log_stats: bool = True, **facts: Any
) -> Rig:
    """A rig for a synchronous V1 engine, or for an asynchronous V2 one."""
    clock = Clock()
    monkeypatch.setattr(scheduler_module, "time", clock)
    monkeypatch.setattr(scheduler_module, "attach", lambda _: None)
    scheduler: Any = MixedScheduler(asynchronous=asynchronous, log_stats=log_stats)
    runtime = EngineRuntime(scheduler, engine_facts(drafts_after_completion=asynchronous, **facts))
    scheduler._turbospec = SimpleNamespace(runtime=runtime)
    return Rig(scheduler, runtime, clock)
