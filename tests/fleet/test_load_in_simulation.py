"""The load signal on an engine that is simulated step by step, while K is forced: the same requests, the same load."""

from pathlib import Path

import pytest

from tests.simulation.builders import engine_file, measured_model, phase
from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet.capacity import Attainable, Capability, attainable, load_signal
from turbospec.fleet.demand import DemandMemory, Lengths, RequestCounts, between, demand, lengths, observe
from turbospec.simulation.controllers import Static
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import WorkloadFile
from turbospec.simulation.run import Simulation
from turbospec.simulation.workload import Workload

ACCEPTANCE = 0.7
PROMPT, OUTPUT = 200, 80
ROUND = 5.0
SECONDS = 180
SETTLED = 90.0
SPEC = engine_file()


class Operator:
    """Looks at one engine every few seconds, as the fleet loop does; ``ratios`` are what it would have exported."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine
        self.ratios: list[tuple[float, float]] = []
        self.running: list[int] = []
        self._memory = DemandMemory()
        self._counts = RequestCounts(0, 0, 0, 0, 0, 0)
        self._seen: set[int] = set()
        self._finished = self._prefill = 0
        self._looked_at = 0.0

    def step(self) -> None:
        engine = self.engine
        there = [*engine.batch.requests, *engine.prefilling, *engine.waiting, *engine.finished]
        self._seen.update(request.number for request in there)
        self._finished += len(engine.finished)
        if engine.now - self._looked_at >= ROUND:
            self._look(engine.now - self._looked_at)
            self._looked_at = engine.now

    def _look(self, elapsed: float) -> None:
        engine, arrived = self.engine, len(self._seen)
        begun = arrived - len(engine.waiting)
        now = RequestCounts(arrived, begun, PROMPT * begun, PROMPT * begun, self._finished, OUTPUT * self._finished)
        happened = between(self._counts, now)
        assert happened is not None
        self._memory, self._counts = observe(self._memory, happened, elapsed), now
        offered, mean = demand(self._memory, len(engine.waiting)), lengths(self._memory)
        if offered is not None and mean is not None and engine.now > SETTLED:
            signal = load_signal(offered, mean, [able(mean)])
            assert signal is not None
            self.ratios.append((engine.now, signal.ratio))
            self.running.append(len(engine.batch))


def able(mean: Lengths) -> Attainable:
    engine = Capability(
        latency=measured_model(),
        estimates=(PositionEstimate(ACCEPTANCE, None, 500.0),) * 7,
        draft_tokens=(0, 1, 3, 7),
        max_num_seqs=SPEC.max_num_seqs,
        max_num_batched_tokens=SPEC.max_num_batched_tokens,
        kv_cache_tokens=SPEC.kv_cache_tokens,
    )
    found = attainable(engine, mean)
    assert found is not None
    return found


def watched(k: int, ratio: float) -> Operator:
    """Three minutes at this share of what is attainable, with K forced."""
    rate = ratio * able(Lengths(PROMPT, PROMPT, OUTPUT)).requests_per_second
    offered = phase(
        seconds=SECONDS, poissonPerSecond=rate, promptTokens=PROMPT, outputTokens=OUTPUT, acceptance=[ACCEPTANCE]
    )
    workload = Workload(WorkloadFile(phases=[offered]), Path("workload.yaml"), 1, SPEC.max_draft_tokens)
    engine = SimulatedEngine(SPEC, workload.bank, 1)
    operator = Operator(engine)
    Simulation(engine, workload, Static(k), watch=operator.step).run()
    return operator


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_same_requests_are_the_same_load_at_every_k() -> None:
    """Within 3%, while requests running move by a third and more."""
    ratio = 0.4
    at = {k: watched(k, ratio) for k in SPEC.allowed}
    loads = {k: mean([value for seen, value in one.ratios if seen <= SECONDS]) for k, one in at.items()}
    running = {k: mean([float(count) for count in one.running]) for k, one in at.items()}
    assert max(loads.values()) / min(loads.values()) <= 1.03
    assert max(running.values()) / min(running.values()) >= 1.3
    assert mean(list(loads.values())) == pytest.approx(ratio, rel=0.1)
