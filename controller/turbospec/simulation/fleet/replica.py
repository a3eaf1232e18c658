"""One simulated engine, stepped in macro steps: what it does until a moment, in whole engine steps.

The truth is that of ``turbospec.simulation.engine``: the same step times, the same admission, chunked prefill that
shares steps with decodes. What is averaged within a macro step is the text (each request gets the mean of its kind, and
the noise of so many steps) and the moments at which requests end. A test holds it within 1% of the step-by-step engine.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from turbospec.simulation.files import EngineFile
from turbospec.simulation.step_time import StepTime, Work

TIE_STEPS = 1e-9
LEAST_DECODES = 0.5
"""Fewer are rather none."""
LOOKS = 4.0
"""How often a full engine is looked at while one request is expected to end."""


class Load(NamedTuple):
    """What a macro step begins with."""

    decodes: int
    kv_tokens: int
    waiting: int
    steps: int
    """About how many engine steps it will take; for a brain that learns."""
    now: float


@dataclass(frozen=True, slots=True)
class Done:
    """What a macro step did, for whoever learns from it. The shares of drafts are those of the requests there."""

    ended: float
    draft_tokens: Sequence[int]
    decodes: int
    kv_tokens: int
    waiting: int
    steps: int
    seconds: Sequence[float]
    """One decode step at each of ``draft_tokens``, without noise."""
    prefills: Sequence[tuple[int, float]]
    """Prefill tokens and seconds of the steps that had some."""
    reach: Sequence[float]
    longer: Sequence[float]


class Brain(Protocol):
    """Chooses K for one engine."""

    learns: bool

    def decide(self, load: Load) -> Sequence[int]:
        """K of the steps to come: one for all of them, or several that take equal parts."""
        ...

    def learn(self, done: Done) -> None:
        """What became of them."""
        ...


@dataclass(frozen=True, slots=True)
class Requests:
    """The day's requests, as lists: single elements of numpy arrays are slow to read."""

    at: list[float]
    prompt: list[int]


@dataclass(slots=True, eq=False)
class Replica:
    """An engine's queue, and the sums over its running requests that the fleet's arrays say."""

    slot: int
    spec: EngineFile
    step_time: StepTime
    brain: Brain
    requests: Requests
    noise: float = 1.0
    """Factor on the step times of this macro step."""
    clock: float = 0.0
    """When the last step ended."""
    waiting: deque[int] = field(default_factory=deque)
    prefilling: list[list[int]] = field(default_factory=list)
    """Request, tokens computed, tokens to compute."""
    generated: dict[int, int] = field(default_factory=dict)
    """Tokens of preempted requests, which are prefilled again with them."""
    running: int = 0
    kv_running: float = 0.0
    growth: float = 1.0
    """Tokens that a request gets from a step."""
    leaving: float = 0.0
    """Requests expected to end within the coming macro step, and the KV cache that they hold."""
    leaving_kv: float = 0.0
    began: float = 0.0
    steps: int = 0
    joined: list[tuple[int, int]] = field(default_factory=list)
    """Requests that began to decode in this macro step, and after how many of its steps."""
    joined_prompts: int = 0
    """Tokens of their prompts."""
    first_tokens: list[tuple[int, float]] = field(default_factory=list)
    draft_tokens: Sequence[int] = (0,)
    seconds: list[float] = field(default_factory=list)
    prefills: list[tuple[int, float]] = field(default_factory=list)
    token_seconds: float = 0.0
    """Sum over steps and decoding requests of the step's seconds: inter-token latency has one sample each."""
    token_samples: float = 0.0

    @property
    def lookahead(self) -> int:
        """Tokens by which a request may grow in a step."""
        return 1 + self.spec.max_draft_tokens

    @property
    def requests_there(self) -> int:
        """Waiting, in prefill and decoding: what a load balancer counts."""
        return self.running + len(self.prefilling) + len(self.waiting)

    @property
    def kv_tokens(self) -> float:
        """Tokens in the KV cache or promised to admitted prompts."""
        return self.kv_running + sum([entry[2] for entry in self.prefilling]) if self.prefilling else self.kv_running

    def advance(self, start: float, end: float) -> None:
        """Whole steps from the last one's end until ``end`` is reached or passed; nothing where that is so already."""
        self.joined, self.first_tokens, self.prefills, self.steps, self.joined_prompts = [], [], [], 0, 0
        waiting, arrivals = self.waiting, self.requests.at
        self.began = began = clock = max(self.clock, start)
        if clock >= end:
            return
        if not (self.running or waiting or self.prefilling):
            self.clock = end
            return
        self._decide(clock, end)
        while clock < end:
            if self.prefilling or (waiting and arrivals[waiting[0]] <= clock):
                decodes, kv = self._now(clock, end)
                tokens, computed, completed = self._prefill(decodes, kv, clock)
                if tokens:
                    took = self._mean_seconds(decodes, kv + computed, tokens)
                    self._count(decodes, 1, took)
                    clock += took
                    self._prefilled(tokens, took, completed, clock)
                    continue
            until = self._next_look(clock, end) if waiting else end
            # Decoding requests when so much of this macro step is over, as far as one can expect.
            if self.running + len(self.joined) - self.leaving * ((clock - began) / (end - began)) < LEAST_DECODES:
                clock = until
                continue
            # As many as there are in the middle of it: those that end do so all along.
            decodes, kv = self._now((clock + until) / 2.0, end)
            took = self._mean_seconds(decodes, kv, 0)
            count = max(1, math.ceil((until - clock) / took - TIE_STEPS))
            self._count(decodes, count, took)
            clock += count * took
        self.clock = clock

    def _decide(self, clock: float, end: float) -> None:
        brain, kv = self.brain, self.kv_running
        load = Load(self.running, int(self.kv_tokens), len(self.waiting), self._expected_steps(end - clock), clock)
        self.draft_tokens = ks = brain.decide(load)
        if brain.learns:
            by_k = {k: self._seconds(self.running, k, kv, 0) for k in set(ks)}
            self.seconds = [by_k[k] for k in ks]

    def _prefilled(self, tokens: int, took: float, completed: Sequence[int], ended: float) -> None:
        self.prefills.append((tokens, took))
        for request in completed:
            self.first_tokens.append((request, ended))
            self.joined.append((request, self.steps))
            self.joined_prompts += self.requests.prompt[request]

    def _expected_steps(self, seconds: float) -> int:
        """Of a brain that learns; others ask for no more than one decision."""
        took = self.seconds[0] if self.seconds else 0.0
        return max(1, round(seconds / took)) if took > 0.0 else 1

    def _now(self, clock: float, end: float) -> tuple[float, float]:
        """Decoding requests and their KV cache at a moment of this macro step, as far as one can expect."""
        gone = (clock - self.began) / (end - self.began)
        decodes = self.running + len(self.joined) - self.leaving * gone
        decodes = decodes if decodes > 0.0 else 0.0
        kv = self.kv_running + decodes * self.growth * self.steps + self.joined_prompts - self.leaving_kv * gone
        return decodes, kv if kv > 0.0 else 0.0

    def _next_look(self, clock: float, end: float) -> float:
        """Until when nothing but decoding goes on: the next arrival, or room for one that waits."""
        arrival = self.requests.at[self.waiting[0]]
        if arrival > clock:
            return min(end, arrival)
        return min(end, clock + (end - self.began) / (LOOKS * max(self.leaving, 1.0)))

    def _count(self, decodes: float, steps: int, took: float) -> None:
        self.steps += steps
        samples = decodes * steps
        self.token_seconds += samples * took
        self.token_samples += samples

    def _mean_seconds(self, decodes: float, kv: float, prefill: int) -> float:
        ks = self.draft_tokens
        if len(ks) == 1:
            return self._seconds(decodes, ks[0], kv, prefill) * self.noise
        by_k = {k: self._seconds(decodes, k, kv, prefill) for k in set(ks)}
        return sum([by_k[k] for k in ks]) / len(ks) * self.noise

    def _seconds(self, decodes: float, k: int, kv: float, prefill: int) -> float:
        n = round(decodes)
        drafted, most = n * k, self.spec.max_num_batched_tokens
        if n + drafted > most:
            drafted = max(0, most - n)
        return self.step_time.seconds(Work(n, k, drafted, k if drafted else 0, kv, prefill))

    def _prefill(self, decodes: float, kv: float, now: float) -> tuple[int, int, list[int]]:
        """Prefill tokens of the coming step, KV tokens that they read, and the requests whose prefill ends with it."""
        ks, spec, requests = self.draft_tokens, self.spec, self.requests
        budget = int(spec.max_num_batched_tokens - decodes * (1 + (ks[0] if len(ks) == 1 else max(ks))))
        tokens = computed = promised = 0
        waiting, prefilling = self.waiting, self.prefilling
        for entry in prefilling:
            chunk = min(budget - tokens, entry[2] - entry[1])
            if chunk <= 0:
                break
            computed += entry[1]
            entry[1] += chunk
            tokens += chunk
        for entry in prefilling:
            promised += entry[2]
        while tokens < budget and waiting and requests.at[waiting[0]] <= now:
            request = waiting[0]
            needed = requests.prompt[request] + self.generated.get(request, 0)
            there = decodes + len(prefilling)
            room = kv + promised + needed + (there + 1) * self.lookahead <= spec.kv_cache_tokens
            # The number is an expected one: there is room as soon as one is likelier gone than not.
            if there + 0.5 > spec.max_num_seqs or not room:
                break
            waiting.popleft()
            chunk = min(budget - tokens, needed)
            prefilling.append([request, chunk, needed])
            promised += needed
            tokens += chunk
        completed = []
        while self.prefilling and self.prefilling[0][1] >= self.prefilling[0][2]:
            completed.append(self.prefilling.pop(0)[0])
        return tokens, computed, completed
