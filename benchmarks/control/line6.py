"""Line 6: what the loop costs the engine's own thread."""

import time
import tracemalloc
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.control.engines import ALL, CHAT, engine, model
from benchmarks.control.lines import Part, Task
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.controllers import TurboSpec
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import PhaseSpec, WorkloadFile
from turbospec.simulation.run import Simulation
from turbospec.simulation.workload import Workload

BATCH = 256
MOST_BYTES = 1_000_000


def tasks(*, quick: bool) -> list[Task]:
    """Alone in its process when it runs: timings do not like company."""
    return [Task(6, cost, (120.0 if quick else 300.0,))]


class _Recorder:
    """Runs the loop and keeps what it was given."""

    learns = True
    changes = 0

    def __init__(self, inner: TurboSpec) -> None:
        self.inner = inner
        self.seen: list[tuple[StepComposition, StepRecord]] = []

    def choose(self, composition: StepComposition) -> int:
        """As the loop."""
        self._composition = composition
        return self.inner.choose(composition)

    def observe(self, record: StepRecord) -> None:
        """As the loop."""
        self.inner.observe(record)
        self.seen.append((self._composition, record))


def cost(seconds: float) -> list[dict[str, Any]]:
    """Replays the records of a run at batch 256 and all K into a fresh loop, every call timed."""
    spec = engine("h100", ALL)
    workload = WorkloadFile(
        phases=[PhaseSpec(seconds=seconds, clients=BATCH, prompt_tokens=256, output_tokens=256, acceptance=CHAT)]
    )
    arrivals = Workload(workload, Path("benchmark"), 3, spec.max_draft_tokens)
    recorder = _Recorder(TurboSpec(spec, model("h100", ALL)))
    Simulation(SimulatedEngine(spec, arrivals.bank, 3), arrivals, recorder).run()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    loop = TurboSpec(spec, model("h100", ALL)).loop
    plain: list[float] = []
    rebuilds: list[float] = []
    clock = time.perf_counter_ns
    for composition, record in recorder.seen[: len(recorder.seen) // 4]:
        loop.draft_tokens(composition)
        loop.observe(record)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for composition, record in recorder.seen:
        built = loop.rebuilds
        started = clock()
        loop.draft_tokens(composition)
        loop.observe(record)
        took = clock() - started
        (plain if loop.rebuilds == built else rebuilds).append(took / 1e3)
    kept = sorted(plain)[: len(plain) * 99 // 100]
    return [
        {
            "steps": len(recorder.seen), "plain": sum(kept) / len(kept), "rebuild": median(rebuilds),
            "rebuilds": len(rebuilds), "amortised": (sum(plain) + sum(rebuilds)) / len(recorder.seen), "bytes": held,
        }
    ]  # fmt: skip


def parts(rows: list[dict[str, Any]]) -> list[Part]:
    """The line's targets."""
    row = rows[0]
    share = f"{row['amortised']:.1f} us a step with its {row['rebuilds']} rebuilds in {row['steps']} steps"
    return [
        Part(6, "look-up plus observe <= 5 us", f"{row['plain']:.1f} us without rebuilds; {share}", row["plain"] <= 5),
        Part(6, "a rebuild (256 batches x 8 K) <= 300 us", f"median {row['rebuild']:.0f} us", row["rebuild"] <= 300),
        Part(6, "<= 1 MB per engine", f"{row['bytes'] / 1e6:.2f} MB", row["bytes"] <= MOST_BYTES),
    ]
