"""Small engines and workloads for tests of the simulator."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.controllers import Controller, Static
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile, PhaseSpec, WorkloadFile
from turbospec.simulation.measure import profile
from turbospec.simulation.results import Run
from turbospec.simulation.run import Simulation
from turbospec.simulation.workload import Request, Workload

LINEAR = {
    "secondsPerKvToken": 4e-8,
    "secondsPerBatchedToken": 2e-5,
    "secondsPerStep": 6e-3,
    "draftSecondsPerToken": 1e-6,
    "draftSecondsPerPass": 1e-3,
    "overheadSeconds": 1e-3,
}


def engine_file(**changes: object) -> EngineFile:
    """A noiseless engine with K in {0, 1, 3, 7}; ``changes`` are fields as in ENGINE.yaml."""
    fields: dict[str, object] = {
        "maxNumSeqs": 32,
        "maxDraftTokens": 7,
        "allowedDraftTokens": [0, 1, 3, 7],
        "kvCacheTokens": 50_000,
        "maxNumBatchedTokens": 2048,
        "stepTime": {"linear": LINEAR},
    }
    return EngineFile.model_validate({**fields, **changes})


def phase(**changes: object) -> PhaseSpec:
    """Five seconds of four clients; ``changes`` are fields as in WORKLOAD.yaml."""
    fields: dict[str, object] = {"seconds": 5, "promptTokens": 100, "outputTokens": 60, "acceptance": [0.7]}
    if not {"poissonPerSecond", "trace"} & set(changes):
        fields["clients"] = 4
    return PhaseSpec.model_validate({**fields, **changes})


@cache
def measured_model() -> LatencyModel:
    """The profile of ``engine_file()``. Its sweep takes a second: nobody should pay for it by importing a module."""
    return profile(engine_file(), seed=1).model


class Spy:
    """Passes everything on to a controller, looks into the engine and keeps all records."""

    learns = True

    def __init__(self, engine: SimulatedEngine, inner: Controller) -> None:
        self.changes = 0
        self.engine, self.inner = engine, inner
        self.records: list[StepRecord] = []
        self.compositions: list[StepComposition] = []
        self.kv_tokens: list[int] = []
        self.running: list[int] = []

    def choose(self, composition: StepComposition) -> int:
        """As the inner controller."""
        self.compositions.append(composition)
        return self.inner.choose(composition)

    def observe(self, record: StepRecord) -> None:
        """As the inner controller."""
        self.records.append(record)
        self.kv_tokens.append(self.engine.kv_tokens)
        self.running.append(len(self.engine.batch) + len(self.engine.prefilling))
        self.inner.observe(record)


def observed(
    spec: EngineFile, phases: Sequence[PhaseSpec], controller: Controller | None = None, *, seed: int = 1, k: int = 0
) -> tuple[Run, Spy]:
    """A run under a fixed K (or the controller given), with all that happened in it."""
    workload = Workload(WorkloadFile(phases=list(phases)), Path("workload.yaml"), seed, spec.max_draft_tokens)
    engine = SimulatedEngine(spec, workload.bank, seed)
    spy = Spy(engine, controller or Static(k))
    return Simulation(engine, workload, spy).run(), spy


def delivered(requests: Sequence[Request]) -> int:
    """Tokens of requests that were finished."""
    return sum(request.output_tokens for request in requests)
