"""What chooses K in a simulated engine: the product's loop, and what it is compared with."""

from collections.abc import Sequence
from typing import Protocol

from turbospec.control.acceptance import Prior
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile
from turbospec.simulation.ground_truth import long_run_goodput
from turbospec.simulation.step_time import Work

EMA_ALPHA = 0.2
EMA_WARMUP_STEPS = 10
EMA_INTERVAL_STEPS = 5
EMA_DOWN = -0.25
"""These four are the published defaults of SGLang's adaptive speculation; its margin upwards is 0."""
CONTEXT_STEP = 16
"""The oracle looks its choice up by the context per request, rounded to this many tokens."""


class Controller(Protocol):
    """One arm: K for each step, and what it learns from it."""

    learns: bool
    """Whether it wants step records; making them takes time."""
    changes: int
    """How often it has changed its mind: K for the batch at hand, exploration apart."""

    def choose(self, composition: StepComposition) -> int:
        """K for the drafts that follow this step."""
        ...

    def observe(self, record: StepRecord) -> None:
        """A completed step."""
        ...


class Static:
    """The same K always; K = 0 is ``off``."""

    learns = False

    def __init__(self, draft_tokens: int) -> None:
        self.changes = 0
        self._draft_tokens = draft_tokens

    def choose(self, composition: StepComposition) -> int:  # noqa: ARG002 - the point of it
        """Always the same."""
        return self._draft_tokens

    def observe(self, record: StepRecord) -> None:
        """Nothing is learnt."""


class Schedule:
    """vLLM's ``num_speculative_tokens_per_batch_size``: rows (from batch, to batch, K), the last one beyond its end."""

    learns = False

    def __init__(self, rows: Sequence[tuple[int, int, int]]) -> None:
        self.changes = 0
        self._table = [rows[0][2]]
        for start, end, k in rows:
            if start != len(self._table) or end < start:
                raise ValueError(f"row [{start}, {end}, {k}]: rows must begin at batch 1 and leave no gap")
            self._table += [k] * (end - start + 1)

    def choose(self, composition: StepComposition) -> int:
        """By the number of decodes."""
        return self._table[min(composition.decodes, len(self._table) - 1)]

    def observe(self, record: StepRecord) -> None:
        """Nothing is learnt."""


class AcceptanceEma:
    """Draft length by a smoothed accept length, blind to load, as SGLang's adaptive speculation does it.

    The accept length of a request is smoothed over batches; every few steps the length moves along the tiers: down when
    the accept length is well below the next smaller tier, up when it all but fills the present one. Tiers are the
    allowed K above 0, for it never switches speculation off.
    """

    learns = True

    def __init__(self, allowed: Sequence[int]) -> None:
        self.changes = 0
        self._tiers = [k for k in allowed if k > 0] or [0]
        self._tier = len(self._tiers) // 2
        self._accepted: float = self._tiers[self._tier] - 1.0
        self._seen = 0

    def choose(self, composition: StepComposition) -> int:  # noqa: ARG002 - blind to load
        """The present tier."""
        return self._tiers[self._tier]

    def observe(self, record: StepRecord) -> None:
        """Smooth the accept length; move at most to where the thresholds hold."""
        if not record.drafting_requests:
            return
        accepted = sum(record.accepted_per_position) / record.drafting_requests
        self._accepted += EMA_ALPHA * (accepted - self._accepted)
        self._seen += 1
        if self._seen < EMA_WARMUP_STEPS or self._seen % EMA_INTERVAL_STEPS:
            return
        tiers, before = self._tiers, self._tier
        while self._tier > 0 and self._accepted <= tiers[self._tier - 1] - 0.5 + EMA_DOWN:
            self._tier -= 1
        if self._tier == before:
            while self._tier + 1 < len(tiers) and self._accepted > tiers[self._tier] - 0.5:
                self._tier += 1
        self.changes += self._tier != before


class Oracle:
    """The best allowed K for the requests that decode now, from the true step times and the true acceptance.

    Best in the long run: with the prompts that this batch and text bring into its steps. It knows no single step's
    future, and pays the same lag as the others.
    """

    learns = False

    def __init__(self, engine: SimulatedEngine) -> None:
        self.changes = 0
        self._engine = engine
        self._allowed = engine.spec.allowed
        self._best = self._allowed[0]
        self._known: dict[tuple[int, int, float, float], dict[int, float]] = {}
        self._now: dict[int, float] = {}
        self._by_batch: dict[int, int] = {}
        self._drift: object = None

    def choose(self, composition: StepComposition) -> int:
        """The K of highest goodput."""
        n = composition.decodes
        if n == 0:
            return self._best
        batch, drift = self._engine.batch, self._engine.step_time.drift
        if drift is not self._drift:
            self._drift = drift
            self._known.clear()
        tokens, drafted = batch.tokens_sum.item(-1), batch.drafted_sum.item(-1)
        situation = (n, batch.kv_tokens // (CONTEXT_STEP * n), round(tokens, 3), round(drafted, 3))
        known = self._known.get(situation)
        if known is None:
            known = self._known[situation] = self._evaluate()
        if known is not self._now:
            self._now = known
            self._best = max(known, key=known.__getitem__)
            self.changes += self._by_batch.get(n, self._best) != self._best
            self._by_batch[n] = self._best
        return self._best

    def observe(self, record: StepRecord) -> None:
        """Nothing is learnt: all is known."""

    def goodput(self, draft_tokens: int) -> float:
        """Expected tokens per second of the requests last chosen for at this K."""
        return self._now[draft_tokens]

    def _evaluate(self) -> dict[int, float]:
        batch, found = self._engine.batch, {}
        prompt = sum(request.prompt_tokens for request in batch.requests) / len(batch)
        output = sum(request.output_tokens for request in batch.requests) / len(batch)
        tokens = (batch.tokens_sum / len(batch)).tolist()
        for k in self._allowed:
            drafted = batch.drafted_sum.item(k)
            found[k] = long_run_goodput(
                self._engine.step_time,
                Work(len(batch), k, drafted, k if drafted else 0, batch.kv_tokens, 0),
                tokens,
                prompt_tokens=prompt,
                output_tokens=output,
                most_tokens=self._engine.spec.max_num_batched_tokens,
            )
        return found


class TurboSpec:
    """The product's engine loop, unchanged."""

    learns = True

    def __init__(self, engine: EngineFile, latency: LatencyModel | None, prior: tuple[Prior, ...] = ()) -> None:
        limits = LoopLimits(
            engine.max_num_seqs,
            engine.max_draft_tokens,
            engine.allowed,
            graph_sizes=tuple(engine.graph.padded_to) if engine.graph else (),
            max_num_batched_tokens=engine.max_num_batched_tokens,
        )
        self.loop = EngineLoop(limits, startup_table(engine.allowed, engine.max_num_seqs))
        self.loop.configure(LoopSettings("local", engine.allowed, None, latency, prior))
        self.changes = 0
        self.tables = 0
        """Tables that differed from the one before at any batch."""
        self._table = self.loop.table()

    def choose(self, composition: StepComposition) -> int:
        """What the loop decides."""
        return self.loop.draft_tokens(composition)

    def observe(self, record: StepRecord) -> None:
        """Pass the record on, and see whether the table has changed."""
        self.loop.observe(record)
        table = self.loop.table()
        if table is not self._table:
            if table != self._table:
                self.tables += 1
                batch = min(max(record.decodes, 1), len(table) - 1)
                self.changes += table[batch] != self._table[batch]
            self._table = table


def startup_table(allowed: Sequence[int], max_num_seqs: int) -> tuple[int, ...]:
    """K by batch that an engine starts with before it has learnt anything: larger K at smaller batches.

    The ladder is spread over the batches by equal factors, as the operator does it for pods that it injects.
    """
    ladder = sorted(set(allowed), reverse=True)
    ends = [max_num_seqs ** (index / len(ladder)) for index in range(1, len(ladder) + 1)]
    table = [
        next((k for k, end in zip(ladder, ends, strict=True) if b <= end), ladder[-1]) for b in range(max_num_seqs + 1)
    ]
    return tuple(table)
