"""``python -m benchmarks.profiles.drift``: two kinds of hardware, their profiles swapped: how many steps until engines
say so, what is lost meanwhile, and how often they say so of their own profile.

The real engine loop on simulated engines, 3% noise a step and one in a thousand five times as long.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import fmean

from benchmarks.control.arms import phase
from benchmarks.control.engines import LADDER, PROFILE_SEED, TEXTS, engine
from turbospec.control.engine_loop import EngineLoop, LoopSettings
from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepComposition
from turbospec.simulation.controllers import Oracle, TurboSpec
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile, WorkloadFile
from turbospec.simulation.measure import profile
from turbospec.simulation.run import Simulation
from turbospec.simulation.step_time import StepTime, Work
from turbospec.simulation.workload import Workload

KINDS = ("h100", "ngram")
SLOWER = {"secondsPerStep": 2.1, "secondsPerBatchedToken": 2.2, "secondsPerKvToken": 2.0, "draftSecondsPerPass": 1.9}
"""The other kind of hardware: half as fast, though not in every part alike."""
CLIENTS = (1, 8, 64)
SWAP_AT = 20.0
LIMIT_STEPS = 200
QUIET_STEPS = 1_000_000
WITH_PREFILL = 1.3
"""Mean step, prefill included, over one without, at most."""
WINDOW = 200
"""Steps over which a loss is averaged."""


@cache
def hardware(name: str, *, slow: bool) -> EngineFile:
    """One engine of the benchmark's list, or the same on the slower kind of hardware."""
    spec = engine(name, LADDER)
    linear = spec.step_time.linear
    if not slow or linear is None:
        return spec
    dearer = linear.model_dump(by_alias=True)
    dearer |= {part: dearer[part] * factor for part, factor in SLOWER.items()}
    return engine(name, LADDER, stepTime={"linear": dearer})


@cache
def profiled(name: str, *, slow: bool) -> LatencyModel:
    """Its profile, by the product's own grid and fit."""
    return profile(hardware(name, slow=slow), PROFILE_SEED).model


@dataclass
class Watched:
    """One engine under the real loop; ``flagged`` are the steps after which it said that it is off its profile."""

    spec: EngineFile
    clients: int
    text: str
    seconds: float
    seed: int
    swap_to: LatencyModel | None = None
    steps: int = 0
    swapped: int | None = None
    flagged: list[int] = field(default_factory=list)
    regrets: list[float] = field(default_factory=list)

    def run(self, name: str, own: LatencyModel) -> "Watched":
        """Serve; in the middle the operator pushes another profile, where there is one."""
        phases = [phase(name, self.seconds, self.clients, TEXTS[self.text])]
        workload = Workload(WorkloadFile(phases=phases), Path("benchmark"), self.seed, self.spec.max_draft_tokens)
        simulated = SimulatedEngine(self.spec, workload.bank, self.seed)
        controller = TurboSpec(self.spec, own)
        oracle = Oracle(simulated) if self.swap_to is not None else None
        loop: EngineLoop = controller.loop
        before = False

        def look() -> None:
            nonlocal before
            self.steps += 1
            if self.swap_to is not None and self.swapped is None and simulated.now >= SWAP_AT:
                loop.configure(LoopSettings("local", self.spec.allowed, None, self.swap_to))
                self.swapped = self.steps
            off = loop.off_profile()
            if off and not before:
                self.flagged.append(self.steps)
            before = off
            if oracle is not None and self.swapped is not None and len(simulated.batch):
                best = oracle.choose(StepComposition(len(simulated.batch), 0, 0, 0))
                self.regrets.append(max(0.0, 1.0 - oracle.goodput(simulated.decided) / oracle.goodput(best)))

        Simulation(simulated, workload, controller, watch=look).run()
        return self


def swap(name: str, clients: int, text: str, seed: int, *, slow: bool) -> dict[str, object]:
    """The profile of the other kind, pushed to an engine that ran with its own."""
    own, other = profiled(name, slow=slow), profiled(name, slow=not slow)
    spec = hardware(name, slow=slow)
    watched = Watched(spec, clients, text, SWAP_AT + 30.0, seed, swap_to=other).run(name, own)
    at = watched.swapped or 0
    after = [step - at for step in watched.flagged if step >= at]
    losses = watched.regrets
    return {
        "case": f"{name}, {'slow engine, fast' if slow else 'fast engine, slow'} profile, {clients} clients, {text}",
        "steps": after[0] if after else None,
        "early": sum(step < at for step in watched.flagged),
        "ratio": step_ratio(name, clients),
        "lost_first": fmean(losses[:WINDOW]),
        "lost_after": fmean(losses[WINDOW:] or [0.0]),
    }


def step_ratio(name: str, clients: int) -> float:
    """Step time of the slow kind over that of the fast one, at K = 1."""
    work = Work(clients, 1, clients, 1, 384 * clients, 0)
    return StepTime(hardware(name, slow=True)).seconds(work) / StepTime(hardware(name, slow=False)).seconds(work)


def quiet(name: str, clients: int, steps: int, seed: int, *, slow: bool) -> tuple[int, int]:
    """Steps with the engine's own profile, and how often it said that it is off."""
    spec, own = hardware(name, slow=slow), profiled(name, slow=slow)
    per_step = StepTime(spec).seconds(Work(clients, 1, clients, 1, 384 * clients, 0))
    watched = Watched(spec, clients, "mid", WITH_PREFILL * steps * per_step, seed).run(name, own)
    return watched.steps, len(watched.flagged)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 where every swap was flagged in time, and at most one step in a million was a false alarm."""
    parser = argparse.ArgumentParser(prog="benchmarks.profiles.drift", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=QUIET_STEPS, help="steps under their own profile, in all")
    options = parser.parse_args(arguments)
    rows = [
        swap(name, clients, text, seed, slow=slow)
        for name in KINDS
        for slow in (False, True)
        for clients in CLIENTS
        for text in ("low", "high")
        for seed in range(options.seeds)
    ]
    for row in rows:
        print(
            f"{row['case']}: flagged after {row['steps']} steps "
            f"(step ratio {row['ratio']:.2f}, false before: {row['early']}); "
            f"lost {row['lost_first']:.2%} of goodput in the first {WINDOW} steps, {row['lost_after']:.2%} after"
        )
    cases = [(name, slow, clients) for name in KINDS for slow in (False, True) for clients in (1, 8, 32)]
    total = alarms = 0
    for seed, (name, slow, clients) in enumerate(cases):
        steps, found = quiet(name, clients, options.steps // len(cases) + 1, seed, slow=slow)
        total, alarms = total + steps, alarms + found
    longest = max((row["steps"] if isinstance(row["steps"], int) else sys.maxsize) for row in rows)
    met = longest < LIMIT_STEPS and alarms * QUIET_STEPS <= total and total >= options.steps
    print(f"{len(rows)} swaps flagged after at most {longest} steps (asked: {LIMIT_STEPS})")
    print(f"{alarms} false alarms in {total} steps under their own profiles")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
