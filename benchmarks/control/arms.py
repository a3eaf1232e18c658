"""Runs arms on scenarios, and watches what each step of an arm is worth against the best K at that moment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from benchmarks.control.engines import PROMPTS, YIELD, model
from turbospec.control.acceptance import Prior
from turbospec.control.draft_length import Reason
from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.controllers import Oracle, Schedule, TurboSpec
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile, PhaseSpec, WorkloadFile
from turbospec.simulation.ground_truth import long_run_goodput
from turbospec.simulation.results import Run
from turbospec.simulation.run import ProfileSource, Scenario, Simulation, run
from turbospec.simulation.step_time import StepTime, Work
from turbospec.simulation.text import extended
from turbospec.simulation.workload import Workload

SETTLED_REGRET = 0.02
SETTLED_SECONDS = 1.0
"""A change counts as followed from where, for this long, less than 2% is lost on average."""
WINDOW = 100
"""Steps over which a loss is averaged: recovered is where the next 100 lose less than allowed on average."""
_NOWHERE = Path("benchmark")


def phase(name: str, seconds: float, clients: int, acceptance: Sequence[float], **changes: object) -> PhaseSpec:
    """Closed-loop clients; prompts of the engine's own length or 256 tokens, outputs of 256, half more or less."""
    fields: dict[str, object] = {
        "seconds": seconds,
        "clients": clients,
        "promptTokens": PROMPTS.get(name, 256),
        "outputTokens": 256,
        "lengthSpread": 0.5,
        "acceptance": list(acceptance),
        "draftYield": YIELD.get(name, [1.0]),
        **changes,
    }
    return PhaseSpec.model_validate(fields)


def arm(name: str, spec: EngineFile, phases: Sequence[PhaseSpec], seed: int, controller: str) -> Run:
    """One run of an engine of the list; ``turbospec`` gets the profile that the product's grid measured."""
    known = model(name, spec.allowed) if controller == "turbospec" else None
    source = ProfileSource(measured=False, model=known)
    return run(Scenario(spec, WorkloadFile(phases=list(phases)), seed=seed, profile=source), controller)


def scheduled(spec: EngineFile, phases: Sequence[PhaseSpec], seed: int, table: Sequence[int]) -> Run:
    """One run under a fixed table, indexed by batch (index 0 unused)."""
    rows = [(batch, batch, table[batch]) for batch in range(1, len(table))]
    workload = Workload(WorkloadFile(phases=list(phases)), _NOWHERE, seed, spec.max_draft_tokens)
    engine = SimulatedEngine(spec, workload.bank, seed)
    return Simulation(engine, workload, Schedule(rows)).run()


def true_goodput(spec: EngineFile, text: PhaseSpec, batch: int, context: float, k: int) -> float:
    """Tokens per second in the long run, from the engine's own step times."""
    acceptance = extended(text.acceptance, spec.max_draft_tokens)
    found = extended(text.draft_yield, spec.max_draft_tokens)
    gained = [found[j] * math.prod(acceptance[: j + 1]) for j in range(k)]
    drafted = batch * sum(found[:k])
    step_time = StepTime(spec)
    step_time.drift = spec.drift[-1] if spec.drift else None
    return long_run_goodput(
        step_time,
        Work(batch, k, drafted, k if drafted else 0, batch * context, 0),
        list(accumulate(gained, initial=1.0)),
        prompt_tokens=text.prompt_tokens or 1,
        output_tokens=text.output_tokens or 1,
        most_tokens=spec.max_num_batched_tokens,
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """One step with decodes: the share of goodput it gave away by its K, and why K was what it was."""

    ended: float
    seconds: float
    draft_tokens: int
    best: int
    regret: float
    decodes: int
    reason: Reason | None


@dataclass
class Judged:
    """A run of ``turbospec`` with every step compared to the best K of that very moment."""

    run: Run
    moments: list[Moment] = field(default_factory=list)
    probe_seconds: float = 0.0

    def lost(self, start: float = 0.0, end: float = math.inf) -> float:
        """Share of goodput given away between two times."""
        chosen = [m for m in self.moments if start <= m.ended - m.seconds < end]
        return sum(m.seconds * m.regret for m in chosen) / max(sum(m.seconds for m in chosen), 1e-9)

    def delay(self, start: float, end: float) -> float:
        """Seconds from ``start`` until a second in which less than 2% is lost begins; ``end - start`` if none does."""
        moments = [m for m in self.moments if start <= m.ended - m.seconds < end]
        first, seconds, lost = 0, 0.0, 0.0
        for moment in moments:
            seconds += moment.seconds
            lost += moment.seconds * moment.regret
            while seconds - moments[first].seconds >= SETTLED_SECONDS:
                seconds -= moments[first].seconds
                lost -= moments[first].seconds * moments[first].regret
                first += 1
            if seconds >= SETTLED_SECONDS and lost <= SETTLED_REGRET * seconds:
                return max(0.0, moments[first].ended - moments[first].seconds - start)
        return end - start

    def recovered(self, start: float, allowed: float) -> float:
        """Steps from ``start`` until the next 100 lose at most this share on average; infinite if they never do."""
        moments = [m for m in self.moments if m.ended - m.seconds >= start]
        lost = sum(m.regret * m.seconds for m in moments[:WINDOW])
        seconds = sum(m.seconds for m in moments[:WINDOW])
        for n in range(len(moments) - WINDOW):
            if lost <= allowed * seconds:
                return float(n)
            old, new = moments[n], moments[n + WINDOW]
            lost += new.regret * new.seconds - old.regret * old.seconds
            seconds += new.seconds - old.seconds
        return math.inf


def judged(
    spec: EngineFile,
    phases: Sequence[PhaseSpec],
    seed: int,
    latency: LatencyModel | None,
    prior: tuple[Prior, ...] = (),
) -> Judged:
    """Runs ``turbospec`` and looks at each K it decides."""
    workload = Workload(WorkloadFile(phases=list(phases)), _NOWHERE, seed, spec.max_draft_tokens)
    engine = SimulatedEngine(spec, workload.bank, seed)
    controller = TurboSpec(spec, latency, prior)
    oracle = Oracle(engine)
    result = Judged(Run("turbospec", 0.0, 0, [], [], 0.0, 0, 0, 0))
    spy = _Spy(controller, oracle, engine, result.moments)
    result.run = Simulation(engine, workload, spy).run()
    result.probe_seconds = controller.loop.probe_report().spent_seconds
    return result


class _Spy:
    learns = True

    def __init__(self, controller: TurboSpec, oracle: Oracle, engine: SimulatedEngine, moments: list[Moment]) -> None:
        self._controller, self._oracle, self._engine, self._moments = controller, oracle, engine, moments
        self._pending: tuple[int, int, float, int, Reason | None] | None = None
        self.changes = 0

    def choose(self, composition: StepComposition) -> int:
        """What the loop decides, judged."""
        k = self._controller.choose(composition)
        self._pending = None
        if composition.decodes:
            best = self._oracle.choose(composition)
            regret = 0.0 if k == best else max(0.0, 1.0 - self._oracle.goodput(k) / self._oracle.goodput(best))
            decision = self._controller.loop.decision() if regret else None
            reason = decision.reason if decision is not None else None
            self._pending = (k, best, regret, composition.decodes, reason)
        return k

    def observe(self, record: StepRecord) -> None:
        """Passed on."""
        self._controller.observe(record)
        self.changes = self._controller.changes
        if self._pending is not None:
            k, best, regret, decodes, reason = self._pending
            self._moments.append(
                Moment(record.ended_seconds, self._engine.last_seconds, k, best, regret, decodes, reason)
            )
