"""A small engine with step times and text of its own, for closed-loop tests of the brain.

Its truth shares no formula with ``turbospec.control.latency``: a memory-bound floor, compute that grows faster than
linearly, graph padding, a cost per draft pass. Verification lags the decision by a step or two, as in real engines.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from turbospec.control.engine_loop import EngineLoop
from turbospec.control.latency import LatencyModel, MeasuredCell, build_latency_model
from turbospec.control.step import StepComposition, StepRecord

StepTime = Callable[[int, int, float], float]
"""Seconds of a step by batch, draft tokens verified per request (K) and mean context."""

PADDING = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)


def roofline(batch: int, k: int, context: float) -> float:
    """Flat up to 16 batched tokens, then worse than linear: the crossover for acceptance 0.5 lies below batch 16."""
    tokens = batch * (k + 1)
    drafting = 0.0004 + 0.0006 * k if k else 0.0
    return 0.012 + 0.0004 * math.pow(max(tokens, 16), 1.15) + 2e-8 * batch * context + drafting


def padded(batch: int, k: int, context: float) -> float:
    """Cheap verification in graphs of fixed sizes, dear draft passes."""
    tokens = next(size for size in PADDING if size >= batch * (k + 1))
    return 0.008 + 0.00005 * tokens + 6e-8 * batch * context + 0.0015 * k


def processor(batch: int, k: int, context: float) -> float:
    """Shaped like two CPU cores: slow, and concave in the batched tokens."""
    return 0.015 + 0.016 * math.sqrt(batch * (k + 1)) + 1e-7 * batch * context


def profile(
    truth: StepTime, draft_tokens: Sequence[int], *, noise: float = 0.02, seed: int = 0, context: int = 256
) -> LatencyModel:
    """A latency model from noisy medians on a coarse grid."""
    rng = random.Random(seed)  # noqa: S311  # seeded noise, no secret
    cells = [
        MeasuredCell(batch, ctx, k, 0, truth(batch, k, ctx) * rng.gauss(1.0, noise), 20)
        for batch in (1, 2, 4, 8, 16, 32, 64)
        for ctx in (context, 4 * context)
        for k in draft_tokens
    ]
    return build_latency_model(cells)


@dataclass
class Text:
    """What the requests are like: conditional acceptance and conditional yield by position."""

    acceptance: Sequence[float]
    draft_yield: Sequence[float] = (1.0,) * 16


def steady(acceptance: float, positions: int = 16) -> Text:
    """The same acceptance at every position."""
    return Text((acceptance,) * positions)


@dataclass
class Moment:
    """One step as it was."""

    seconds: float
    draft_tokens: int
    batch: int
    tokens: int


@dataclass
class SimulatedEngine:
    """Continuous batching with a fixed number of clients; requests of 150 to 250 tokens, a prefill step between."""

    truth: StepTime
    clients: int
    text: Text
    max_draft_tokens: int
    noise: float = 0.03
    lag: int = 1
    prompt_tokens: int = 256
    slowdown: Callable[[int], float] = lambda _: 1.0
    """Factor on the step time by K: how the engine has drifted off its profile."""
    seed: int = 1
    now: float = 0.0
    seq: int = 0
    history: list[Moment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311  # seeded noise, no secret
        self._left: list[int] = []
        self._age: list[int] = []
        self._decided = [0] * self.lag

    def run(self, choose: EngineLoop | Callable[[StepComposition], int], seconds: float) -> list[Moment]:
        """Serve for this long; returns the moments of this run."""
        first, until = len(self.history), self.now + seconds
        loop = choose if isinstance(choose, EngineLoop) else None
        decide = choose.draft_tokens if isinstance(choose, EngineLoop) else choose
        while self.now < until:
            record = self._step(decide)
            if loop is not None:
                loop.observe(record)
        return self.history[first:]

    def _step(self, decide: Callable[[StepComposition], int]) -> StepRecord:
        rng = self._rng
        del self._left[self.clients :], self._age[self.clients :]
        prefill = 0
        while len(self._left) < self.clients:
            self._left.append(rng.randint(150, 250))
            self._age.append(0)
            prefill += self.prompt_tokens
        decoding = [i for i in range(self.clients) if self._age[i] > 0]
        kv = sum(self.prompt_tokens + self._age[i] for i in decoding)
        composition = StepComposition(len(decoding), prefill, kv, 0)
        verified_k = self._decided.pop(0) if decoding else 0
        decided = decide(composition)
        self._decided.append(decided)
        drafted, accepted = [0] * self.max_draft_tokens, [0] * self.max_draft_tokens
        generated = 0
        for i in range(self.clients):
            gained = 1 + (self._verify(verified_k, drafted, accepted) if self._age[i] > 0 else 0)
            self._left[i] -= gained
            self._age[i] += gained
            generated += gained
        for i in reversed([i for i in range(self.clients) if self._left[i] <= 0]):
            del self._left[i], self._age[i]
        mean_context = kv / len(decoding) if decoding else 0.0
        took = self.truth(max(len(decoding), 1), verified_k, mean_context) + prefill * 2e-5
        took *= (
            self.slowdown(verified_k) * max(0.5, rng.gauss(1.0, self.noise)) * (5.0 if rng.random() < 0.001 else 1.0)
        )
        self.now += took
        self.seq += 1
        self.history.append(Moment(self.now, decided, len(decoding), generated))
        return StepRecord(
            seq=self.seq,
            ended_seconds=self.now,
            interval_seconds=took if self.seq > 1 else None,
            interval_draft_tokens=verified_k,
            decided_draft_tokens=decided,
            decodes=len(decoding),
            prefill_tokens=prefill,
            kv_tokens=kv,
            waiting=0,
            generated_tokens=generated,
            verified_draft_tokens=sum(drafted),
            asked_draft_tokens=verified_k,
            drafting_requests=len(decoding) if verified_k else 0,
            drafted_per_position=tuple(drafted),
            accepted_per_position=tuple(accepted),
        )

    def _verify(self, k: int, drafted: list[int], accepted: list[int]) -> int:
        """Draft and verify one request; returns the accepted tokens."""
        gained, alive = 0, True
        for j in range(k):
            if self._rng.random() >= self.text.draft_yield[j]:
                break
            drafted[j] += 1
            alive = alive and self._rng.random() < self.text.acceptance[j]
            if alive:
                accepted[j] += 1
                gained += 1
        return gained


def mean_draft_tokens(moments: Sequence[Moment]) -> float:
    """Mean K over steps."""
    return sum(moment.draft_tokens for moment in moments) / len(moments)


def rate(engine: SimulatedEngine, moments: Sequence[Moment]) -> float:
    """Tokens per second over a run that ended the engine's history."""
    before = len(engine.history) - len(moments)
    start = engine.history[before - 1].seconds if before else 0.0
    return sum(moment.tokens for moment in moments) / (moments[-1].seconds - start)


def best_fixed(engine: SimulatedEngine, draft_tokens: Sequence[int], seconds: float) -> tuple[int, float]:
    """The best constant K on a fresh copy of this engine, and its tokens per second."""
    rates = {}
    for k in draft_tokens:
        copy = replace(engine, history=[], now=0.0, seq=0)
        rates[k] = rate(copy, copy.run(lambda _, k=k: k, seconds))  # type: ignore[misc]
    best = max(rates, key=lambda k: rates[k])
    return best, rates[best]
