"""Profiles a simulated engine: the product's own grid, sweep and fit, on simulated time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from turbospec.control.latency import ImpossibleFitError, LatencyModel
from turbospec.control.step import StepComposition, StepRecord
from turbospec.profiling.evaluate import TooFewSamplesError, evaluate
from turbospec.profiling.grid import CellPlan, SweepLimits, draft_lengths, plan_between, plan_sweep
from turbospec.profiling.measure import SETTLING_STEPS, Block, blocks
from turbospec.profiling.sweep import Sweep
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile, PhaseSpec
from turbospec.simulation.text import TextBank
from turbospec.simulation.workload import Request

PROFILE_SECONDS = 56.0
"""Simulated time for the sweep, whose last cell may take a little longer: a minute in all covers the grid of a GPU."""
SLOW_PROFILE_SECONDS = 600.0
"""For engines whose steps take seconds, where a minute is not enough for four cells."""
PROFILE_TEXT = PhaseSpec(seconds=1, clients=1, prompt_tokens=1, output_tokens=1, acceptance=[0.6])
"""The profiling corpus is text that any drafter finds drafts for; step times do not depend on how many are accepted."""
LONGEST_OUTPUT = 4096


@dataclass(frozen=True, slots=True)
class Measured:
    """A profile of a simulated engine, and the simulated seconds that it took."""

    model: LatencyModel
    hold_out_error: float
    seconds: float


def profile(spec: EngineFile, seed: int) -> Measured:
    """Sweep and fit. Raises the errors of ``evaluate`` where the engine is too slow or too small for a profile."""
    try:
        return _profile(spec, seed, PROFILE_SECONDS)
    except (TooFewSamplesError, ImpossibleFitError):
        return _profile(spec, seed, SLOW_PROFILE_SECONDS)


def _profile(spec: EngineFile, seed: int, seconds: float) -> Measured:
    # K = 0 is what all others are compared with, allowed or not.
    draft_tokens = tuple(sorted({0, *spec.allowed}))
    limits = SweepLimits(
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        max_model_len=min(spec.max_model_len, spec.kv_cache_tokens),
        kv_cache_tokens=spec.kv_cache_tokens,
        allowed_draft_tokens=draft_tokens,
        graph_sizes=tuple(spec.graph.padded_to) if spec.graph else (),
    )
    meter = SimulatedMeter(spec.model_copy(update={"drift": []}), seed)
    sweep = Sweep(
        meter,
        plan_sweep(limits),
        draft_lengths(draft_tokens),
        seconds,
        clock=lambda: meter.now,
        between=plan_between(limits),
        graph_sizes=limits.graph_sizes,
    )
    sweep.run()
    found = evaluate(sweep.records, sweep.draft_tokens, sweep.graph_sizes)
    model = replace(found.model, graph_sizes=limits.graph_sizes)
    return Measured(model, found.hold_out_error, meter.now)


@dataclass
class SimulatedMeter:
    """Does in a simulated engine what ``turbospec.profiling.measure.Meter`` does over HTTP in a real one."""

    spec: EngineFile
    seed: int
    _engine: SimulatedEngine = field(init=False)
    _bank: TextBank = field(init=False)
    _requests: int = field(default=0, init=False)
    _k: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._bank = TextBank(self.seed, self.spec.max_draft_tokens, LONGEST_OUTPUT)
        self._engine = SimulatedEngine(self.spec, self._bank, self.seed + 1)

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._engine.now

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        """Step records of ``rounds`` rounds over all K, as ``Meter.measure`` promises."""
        kept: list[StepRecord] = []
        self._wave(plan, min(draft_tokens), kept)
        for turn in range(rounds):
            if turn and self.now >= slow:
                break
            for block in blocks(plan.batch, draft_tokens, turn, late=lambda: self.now >= slow):
                self._decode(plan, block, min(draft_tokens), kept, last)
        return kept

    def _decode(self, plan: CellPlan, block: Block, ramp: int, kept: list[StepRecord], last: float) -> None:
        settled, k = 0, block.draft_tokens
        while block.wants_more() and self.now < last:
            if len(self._engine.batch) < plan.batch:
                self._wave(plan, ramp, kept)
                settled = 0
            record = self._step(k)
            if not record.decided_draft_tokens == record.interval_draft_tokens == k:
                continue
            settled += 1
            if settled > SETTLING_STEPS:
                kept.append(record)
                block.add(record)

    def _wave(self, plan: CellPlan, k: int, kept: list[StepRecord]) -> None:
        """Drops the requests that are there and starts the cell's, until all of them decode."""
        now, decided = self._engine.now, self._engine.decided
        engine = self._engine = SimulatedEngine(self.spec, self._bank, self.seed + 2 + self._requests)
        engine.now, engine.decided = now, decided
        for _ in range(plan.batch):
            self._requests += 1
            text = self._bank.text(0, PROFILE_TEXT, self._requests)
            place = self._bank.place(text, self._requests)
            engine.submit(Request(self._requests, now, plan.prompt_tokens, plan.output_tokens, text, place))
        while len(engine.batch) < plan.batch and engine.busy:
            record = self._step(k)
            if record.prefill_tokens and record.decided_draft_tokens == record.interval_draft_tokens:
                kept.append(record)

    def _step(self, k: int) -> StepRecord:
        def decide(_: StepComposition) -> int:
            return k

        record = self._engine.step(decide)
        if record is None:
            raise RuntimeError("a step that was asked for its record gave none")
        return record
