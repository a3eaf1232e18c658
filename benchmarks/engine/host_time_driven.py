"""The measuring half of ``host_time``; runs in vLLM's environment and prints one JSON object.

python -m benchmarks.engine.host_time_driven MODEL sync|async BATCHES BLOCKS REQUEST_BLOCKS
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.engine.driven_core import Device, DrivenCore, cpu_config, gpu_like_config
from benchmarks.engine.load_client import document, put

BLOCK_STEPS = 50
"""Hooks are on, off, and on with timers for so many steps in turn."""

WARM_STEPS = 300
PROMPT_TOKENS, MAX_TOKENS = 300, 1500
DEVICE_SECONDS = 0.008
"""A decode step of an 8B model on a datacentre GPU takes 7 to 13 ms."""

REQUEST_BLOCK_SECONDS = 6.0
EXPOSED = ("step_scheduled", "step_arrived", "stats_made", "step_completed")
HIDDEN = ("step_running",)


class _NoHooks:
    """In the mixin's place, so that objects of both classes are laid out alike and one can become the other."""


class Bench:
    """One engine core; hooks are switched by giving its scheduler the class with or without them."""

    def __init__(self, model: Path, kind: str) -> None:
        make = gpu_like_config if kind == "async" else cpu_config
        device = Device(drafts_after_completion=kind == "async", logging=False)
        self.driven = DrivenCore(make(model, [[1, 64, 7], [65, 128, 3], [129, 200, 1], [201, 256, 0]]), device)
        self.scheduler = self.driven.scheduler
        self.mixed = type(self.scheduler)
        self.plain = type("Plain", (_NoHooks, self.mixed.__mro__[2]), {})
        self.runtime: Any = self.scheduler._turbospec.runtime
        self.port = self.scheduler._turbospec.server.port
        self._added = 0
        self._spent = {"exposed": 0, "collected": 0, "hidden": 0}
        self.collections = self._collected = self._collecting = 0
        gc.callbacks.append(self._on_collection)
        self._untimed = {name: getattr(self.runtime, name) for name in (*EXPOSED, *HIDDEN)}
        self.arrived = self.dispatched = 0
        self._note_times()

    def fill(self, batch: int) -> None:
        """``batch`` requests in the engine; the first ones end at different times."""
        running, waiting = self.scheduler.get_request_counts()
        for _ in range(batch - running - waiting):
            early = MAX_TOKENS - (37 * self._added) % 1000 if self._added < batch else MAX_TOKENS
            self.driven.add(f"r{self._added}", PROMPT_TOKENS, early)
            self._added += 1

    def switch(self, mode: str) -> None:
        """``on``, ``off`` or ``timed``."""
        on = mode != "off"
        self.scheduler.__class__ = self.mixed if on else self.plain
        # Both ways run the same K, so that vLLM's own work is the same.
        self.scheduler.dynamic_sd_lookup = list(self.runtime.table())
        self.runtime.intake._scheduled = None
        self.runtime.telemetry._in_flight.clear()
        for name, plain in self._untimed.items():
            timed = mode == "timed"
            setattr(self.runtime, name, self._timer(plain, name in EXPOSED) if timed else plain)

    def step(self) -> tuple[int, int, int, int]:
        """Nanoseconds from a step's tokens to the next dispatch; in our hooks within it, and there in the garbage
        collector; in our hooks behind it."""
        spent = self._spent
        spent["exposed"] = spent["collected"] = spent["hidden"] = 0
        before = self.arrived
        outputs, executed = self.driven.core.step_fn()
        self.driven.core.post_step(executed)
        del outputs
        return self.dispatched - before, spent["exposed"], spent["collected"], spent["hidden"]

    def _timer(self, hook: Callable[..., None], exposed: bool) -> Callable[..., None]:
        clock, spent, key = time.perf_counter_ns, self._spent, "exposed" if exposed else "hidden"

        def timed(*arguments: Any) -> None:
            collected, began = self._collected, clock()
            hook(*arguments)
            spent[key] += clock() - began
            if exposed:
                spent["collected"] += self._collected - collected

        return timed

    def _on_collection(self, phase: str, _: Any) -> None:
        if phase == "start":
            self._collecting = time.perf_counter_ns()
        else:
            self._collected += time.perf_counter_ns() - self._collecting
            self.collections += 1

    def _note_times(self) -> None:
        executor: Any = self.driven.core.model_executor
        execute, sample, clock = executor.execute_model, executor.sample_tokens, time.perf_counter_ns

        def execute_model(*arguments: Any, **named: Any) -> Any:
            self.dispatched = clock()
            return execute(*arguments, **named)

        def sample_tokens(*arguments: Any, **named: Any) -> Any:
            later = sample(*arguments, **named)
            if not hasattr(later, "result"):
                self.arrived = clock()
                return later
            result = later.result

            def noted(timeout: float | None = None) -> Any:
                value = result(timeout)
                self.arrived = clock()
                return value

            later.result = noted
            return later

        executor.execute_model, executor.sample_tokens = execute_model, sample_tokens


def host_time(bench: Bench, batch: int, blocks: int) -> dict[str, Any]:
    """Per mode one list of gaps per block; of the timed blocks the hooks' own times as well."""
    for _ in range(WARM_STEPS):
        bench.fill(batch)
        bench.step()
    found: dict[str, Any] = {name: [] for name in ("on", "off", "exposed", "net", "hidden")}
    found["collections"] = {"on": 0, "off": 0, "timed": 0}
    for number in range(3 * blocks):
        mode = ("off", "on", "timed")[number % 3]
        bench.switch(mode)
        steps, collections = [], bench.collections
        for _ in range(BLOCK_STEPS):
            bench.fill(batch)
            steps.append(bench.step())
        found["collections"][mode] += bench.collections - collections
        steps = steps[3:]  # the pipeline still holds steps of the mode before
        if mode == "timed":
            found["exposed"].append([exposed for _, exposed, _, _ in steps])
            found["net"].append([exposed - collected for _, exposed, collected, _ in steps])
            found["hidden"].append([hidden for _, _, _, hidden in steps])
        else:
            found[mode].append([gap for gap, _, _, _ in steps])
    bench.switch("on")
    return found


def under_requests(bench: Bench, batch: int, blocks: int) -> dict[str, list[list[int]]]:
    """Nanoseconds from token to token with a device that takes its time, with and without a client; blocks in turn."""
    found: dict[str, list[list[int]]] = {"alone": [], "asked": [], "hostile": []}
    for mode in list(found) * blocks:
        client = None
        if mode != "alone":
            command = [sys.executable, "-m", "benchmarks.engine.load_client", str(bench.port), mode]
            client = subprocess.Popen(command)
        times: list[int] = []
        end = time.monotonic() + REQUEST_BLOCK_SECONDS
        while time.monotonic() < end:
            bench.fill(batch)
            bench.step()
            time.sleep(DEVICE_SECONDS)
            times.append(time.perf_counter_ns())
        found[mode].append([after - before for before, after in pairwise(times)])
        if client is not None:
            if client.poll() is not None:
                raise RuntimeError(f"the client {mode} has ended by itself")
            client.terminate()
            client.wait()
    return found


def main(model: str, kind: str, batches: str, blocks: str, request_blocks: str) -> None:
    bench = Bench(Path(model), kind)
    if put(bench.port, document("bench")) != 200:
        raise RuntimeError("the engine refuses the benchmark's control document")
    result: dict[str, Any] = {"kind": kind, "batches": {}, "requests": {}}
    for batch in map(int, batches.split(",")):
        rebuilds = bench.runtime.loop.rebuilds
        result["batches"][batch] = host_time(bench, batch, int(blocks))
        result["batches"][batch]["rebuilds"] = bench.runtime.loop.rebuilds - rebuilds
        if int(request_blocks):
            result["requests"][batch] = under_requests(bench, batch, int(request_blocks))
    if (reason := bench.runtime.unsupported()) is not None:
        raise RuntimeError(f"the runtime gave up meanwhile: {reason.message}")
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
