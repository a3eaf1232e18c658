"""The product's engine loop in a simulated engine, asked once in a macro step, at first at each step."""

import random
from collections.abc import Sequence

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.latency import LatencyModel
from turbospec.control.objective import Objective
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.controllers import startup_table
from turbospec.simulation.files import EngineFile
from turbospec.simulation.fleet.drafts import draw_counts
from turbospec.simulation.fleet.files import CeilingsSpec
from turbospec.simulation.fleet.replica import Done, Load

YOUNG_SECONDS = 20.0
"""For so long every step is decided and learnt from; later one of each macro step, with the drafts of all of them."""
OSCILLATION_SECONDS = 120.0
LEAST_NOISE = 0.3


def objective_of(ceilings: CeilingsSpec) -> Objective:
    """The ceilings as the engine loop takes them."""
    token, first = ceilings.time_per_output_token, ceilings.time_to_first_token
    return Objective(
        None if token is None else token.milliseconds / 1e3,
        90 if token is None else token.percentile,
        None if first is None else first.milliseconds / 1e3,
        90 if first is None else first.percentile,
    )


class LoopBrain:
    """One engine's loop, fed with what its macro steps did."""

    learns = True

    def __init__(self, spec: EngineFile, seed: int, latency: LatencyModel | None, objective: Objective) -> None:
        """``latency``: the model it starts with; None learns step times while serving."""
        self.limits = LoopLimits(
            spec.max_num_seqs,
            spec.max_draft_tokens,
            spec.allowed,
            graph_sizes=tuple(spec.graph.padded_to) if spec.graph else (),
            max_num_batched_tokens=spec.max_num_batched_tokens,
        )
        self.loop = EngineLoop(self.limits, startup_table(spec.allowed, spec.max_num_seqs))
        self.configure(LoopSettings("local", spec.allowed, None, latency, (), objective))
        self.switches: list[tuple[float, int, int]] = []
        """When a new table gave the batch of that moment another K: time, old K, new K."""
        self.drafted = [0] * spec.max_draft_tokens
        self.accepted = [0] * spec.max_draft_tokens
        self.drafts = self.decodes = 0
        self.draft_tokens = 0
        self._noise = spec.noise
        # Not for secrets: the noise of single steps.
        self._random = random.Random(seed)  # noqa: S311
        self._table = self.loop.table()
        self._started: float | None = None
        self._seq = 0

    def configure(self, settings: LoopSettings) -> None:
        """Put settings in force, as a document does."""
        self.settings = settings
        self.loop.configure(settings)

    @property
    def oscillations(self) -> int:
        """Changes of K that were taken back within two minutes, in the day: its warm-up counts for nothing."""
        pairs = zip(self.switches, self.switches[1:], strict=False)
        return sum(
            later[2] == before[1] and later[0] - before[0] <= OSCILLATION_SECONDS and later[0] >= 0.0
            for before, later in pairs
        )

    def estimates(self) -> tuple[PositionEstimate, ...]:
        """Acceptance and yield by position."""
        return self.loop.estimates()

    def decide(self, load: Load) -> Sequence[int]:
        """What the loop decides for the batch at hand."""
        if self._started is None:
            self._started = load.now
            # A table that was replaced before the pod was Ready was never in force.
            self._table = self.loop.table()
        composition = StepComposition(load.decodes, 0, load.kv_tokens, load.waiting)
        young = load.now - self._started < YOUNG_SECONDS
        decided = [self.loop.draft_tokens(composition) for _ in range(load.steps if young else 1)]
        self.draft_tokens = decided[-1]
        return decided

    def learn(self, done: Done) -> None:
        """Give the loop one record for each of its decisions, and see whether its table has changed."""
        part = max(1, round(done.steps / len(done.draft_tokens)))
        for k, seconds in zip(done.draft_tokens, done.seconds, strict=True):
            self.loop.observe(self._record(done, k, seconds, part))
        self.decodes += done.decodes * done.steps
        table = self.loop.table()
        if table is not self._table:
            batch = min(max(done.decodes, 1), len(table) - 1)
            if table[batch] != self._table[batch]:
                self.switches.append((done.ended, self._table[batch], table[batch]))
            self._table = table

    def _record(self, done: Done, k: int, seconds: float, steps: int) -> StepRecord:
        """One step of the kind that the macro step was made of, with the drafts of ``steps`` steps."""
        chance = self._random.random
        prefill, interval = 0, seconds * self._factor()
        if done.prefills and chance() * done.steps < len(done.prefills):
            prefill, interval = done.prefills[int(chance() * len(done.prefills))]
        trials = done.decodes * steps
        drafted, accepted = self._counts(done, k, trials)
        self.drafts += trials if k else 0
        self._seq += 1
        return StepRecord(
            seq=self._seq,
            ended_seconds=done.ended,
            interval_seconds=interval,
            interval_draft_tokens=k,
            decided_draft_tokens=k,
            decodes=done.decodes,
            prefill_tokens=prefill,
            kv_tokens=done.kv_tokens,
            waiting=done.waiting,
            generated_tokens=done.decodes + round(sum(accepted) / steps),
            verified_draft_tokens=round(sum(drafted) / steps),
            asked_draft_tokens=k,
            drafting_requests=trials if k else 0,
            drafted_per_position=tuple(drafted),
            accepted_per_position=tuple(accepted),
        )

    def _counts(self, done: Done, k: int, trials: int) -> tuple[list[int], list[int]]:
        """Drafted and accepted by position, which vLLM's counters count too."""
        drafted, accepted = draw_counts(self._random, trials, k, done.reach, done.longer)
        self.drafted = [before + more for before, more in zip(self.drafted, drafted, strict=True)]
        self.accepted = [before + more for before, more in zip(self.accepted, accepted, strict=True)]
        return drafted, accepted

    def _factor(self) -> float:
        noise = self._noise
        factor = max(LEAST_NOISE, self._random.gauss(1.0, noise.relative_standard_deviation))
        return factor * noise.outlier_factor if self._random.random() < noise.outlier_probability else factor
