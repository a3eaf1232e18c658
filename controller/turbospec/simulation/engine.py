"""The simulated engine: continuous batching with chunked prefill, one step at a time.

Steps follow vLLM's asynchronous scheduler on model runner V2: the K decided in step n is what step n + 1 verifies, and
the interval that ends with step n + 1 is spent on drafting and verifying it. On model runner V1 the drafts that step
n + 1 verifies are proposed within step n, before its tokens are known to anyone: its interval is spent on verifying the
K decided in step n - 1 and drafting at the K decided in step n.
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.decode_batch import DecodeBatch
from turbospec.simulation.files import EngineFile, NoiseSpec
from turbospec.simulation.step_time import StepTime, Work
from turbospec.simulation.text import TextBank
from turbospec.simulation.workload import Request

NOISE_BLOCK = 4096
LEAST_NOISE = 0.3
"""Noise is normal, but no step is faster than this share of its time."""


class SimulatedEngine:
    """Serves requests; ``step`` runs one step.

    KV cache is counted in tokens. A request is admitted when its whole prompt fits beside what the running ones hold,
    with room for one more step of the longest draft for everyone, whatever K is. Where running requests outgrow the
    cache, the one admitted last loses its KV cache, waits in front, and is prefilled again.
    """

    def __init__(
        self,
        spec: EngineFile,
        bank: TextBank,
        seed: int,
        *,
        plain: bool = False,
        drafts_after_completion: bool = True,
    ) -> None:
        """``plain``: as if started without the drafter. ``drafts_after_completion``: False on model runner V1."""
        self.spec = spec
        self._drafts_after_completion = drafts_after_completion
        self.step_time = StepTime(spec)
        self.batch = DecodeBatch(bank, spec.max_num_seqs, spec.max_draft_tokens)
        self.capacity = spec.kv_cache_tokens
        self.now = 0.0
        self.seq = 0
        self.decided = 0
        self.last_seconds = 0.0
        self.last_generated = 0
        """Tokens that the last step delivered."""
        self.last_drafted = 0
        """Draft tokens that it verified."""
        self.last_accepted = 0
        """Draft tokens that were accepted, those beyond a request's end included."""
        self.preemptions = 0
        self.waiting: deque[Request] = deque()
        self.prefilling: list[Request] = []
        self.finished: list[Request] = []
        """Requests that got their last token in the last step."""
        self.prefilled: list[Request] = []
        """Requests whose prefill ended with the last step, which gave them a token."""
        self._promised = 0
        """KV cache of the prompts in prefill, all of them, computed or not."""
        self._lookahead = 1 if plain else 1 + spec.max_draft_tokens
        self._speedup = 1.0
        if plain and spec.plain is not None:
            self.capacity = spec.plain.kv_cache_tokens or self.capacity
            self._speedup = spec.plain.speedup
        self._admissions = 0
        self._idle = True
        self._noise = _noise(spec.noise, seed)
        self._drifts = deque(spec.drift)

    @property
    def busy(self) -> bool:
        """Whether any request is there."""
        return bool(self.batch.requests or self.waiting or self.prefilling)

    @property
    def kv_tokens(self) -> int:
        """Tokens in the KV cache or promised to admitted prompts."""
        return self.batch.kv_tokens + self._promised

    def submit(self, request: Request) -> None:
        """Queue a request. ValueError for one that can never fit."""
        most = request.prompt_tokens + request.output_tokens + self._lookahead
        if most > self.capacity:
            raise ValueError(f"a request of {most} tokens, its drafts included, exceeds kvCacheTokens {self.capacity}")
        self.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Take out a request between two steps, its client being gone; nothing happens where it has ended."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.prefilling:
            self.prefilling.remove(request)
            self._promised -= request.prompt_tokens + request.generated
        elif request in self.batch.requests:
            self.batch.remove(self.batch.requests.index(request))

    def idle_until(self, when: float) -> None:
        """Let time pass without work."""
        self.now, self._idle = max(self.now, when), True

    def step(self, decide: Callable[[StepComposition], int], *, record: bool = True) -> StepRecord | None:
        """One step, in which ``decide`` sets K for the drafts that the next step verifies; its record, if wanted."""
        while self._drifts and self.now >= self._drifts[0].at:
            self.step_time.drift = self._drifts.popleft()
        preempted = self._make_room()
        asked, decodes = self.decided, len(self.batch)
        drafts = self.batch.drafts(asked, self.spec.max_num_batched_tokens)
        left = self.spec.max_num_batched_tokens - decodes - drafts.total
        prefill, computed, completed = self._prefill(left, admit=not preempted)
        kv_tokens = self.batch.kv_tokens + computed
        composition = StepComposition(decodes, prefill, kv_tokens, len(self.waiting))
        self.decided = decide(composition)
        work = Work(decodes, asked, drafts.total, drafts.passes, kv_tokens, prefill)
        self.seq += 1
        delivered = self.batch.verify(drafts)
        self.finished, beyond = self.batch.ended()
        self.prefilled = completed
        for request in completed:
            self._decode(request)
        seconds = self.step_time.seconds(work, self._proposing())
        self.last_seconds = took = seconds / self._speedup * next(self._noise)
        self.now += took
        for request in completed:
            if request.first_token is None:
                request.first_token = self.now
        for request in self.finished:
            request.finished = self.now
        self.last_generated = generated = delivered.generated_tokens - beyond + len(completed)
        self.last_drafted, self.last_accepted = drafts.total, delivered.generated_tokens - decodes
        mixed = not self._drafts_after_completion and self.decided != asked
        interval = None if self._idle or mixed else took
        self._idle = not self.busy
        if not record:
            return None
        return StepRecord(
            seq=self.seq,
            ended_seconds=self.now,
            interval_seconds=interval,
            interval_draft_tokens=asked,
            decided_draft_tokens=self.decided,
            decodes=decodes,
            prefill_tokens=prefill,
            kv_tokens=kv_tokens,
            waiting=composition.waiting,
            generated_tokens=generated,
            verified_draft_tokens=drafts.total,
            asked_draft_tokens=asked,
            drafting_requests=decodes if asked else 0,
            drafted_per_position=drafts.per_position,
            accepted_per_position=delivered.accepted_per_position,
        )

    def _proposing(self) -> Work | None:
        """What this step drafts, where the next one will verify it."""
        if self._drafts_after_completion:
            return None
        drafts = self.batch.drafts(self.decided, self.spec.max_num_batched_tokens)
        return Work(len(self.batch), self.decided, drafts.total, drafts.passes, self.batch.kv_tokens, 0)

    def _make_room(self) -> bool:
        """Preempt until every running request can grow by a full draft; whether any was."""
        before = self.preemptions
        while self.kv_tokens + (len(self.batch) + len(self.prefilling)) * self._lookahead > self.capacity:
            if self.prefilling:
                request = self.prefilling.pop()
                self._promised -= request.prompt_tokens + request.generated
            else:
                requests = self.batch.requests
                request = self.batch.remove(max(range(len(requests)), key=lambda i: requests[i].admission))
                request.preempted = self.now
            request.computed = 0
            request.preemptions += 1
            self.waiting.appendleft(request)
            self.preemptions += 1
        return self.preemptions > before

    def _prefill(self, budget: int, *, admit: bool) -> tuple[int, int, list[Request]]:
        """Prefill tokens of this step, KV tokens that they read, and the requests whose prefill ends with it."""
        if not self.waiting and not self.prefilling:
            return 0, 0, []
        tokens = computed = 0
        for request in self.prefilling:
            chunk = min(budget - tokens, request.prompt_tokens + request.generated - request.computed)
            if chunk <= 0:
                break
            computed += request.computed
            request.computed += chunk
            tokens += chunk
        while admit and tokens < budget and self.waiting and self._fits(self.waiting[0]):
            request = self.waiting.popleft()
            self._admissions += 1
            request.admission = self._admissions
            if request.admitted is None:
                request.admitted = self.now
            needed = request.prompt_tokens + request.generated
            request.computed = min(budget - tokens, needed)
            tokens += request.computed
            self._promised += needed
            self.prefilling.append(request)
        completed = []
        while self.prefilling and self.prefilling[0].computed >= (
            self.prefilling[0].prompt_tokens + self.prefilling[0].generated
        ):
            completed.append(self.prefilling.pop(0))
        return tokens, computed, completed

    def _fits(self, request: Request) -> bool:
        there = len(self.batch) + len(self.prefilling)
        if there >= self.spec.max_num_seqs:
            return False
        needed = request.prompt_tokens + request.generated + (there + 1) * self._lookahead
        return self.kv_tokens + needed <= self.capacity

    def _decode(self, request: Request) -> None:
        """The step that computes the last prompt token also gives a token."""
        self._promised -= request.prompt_tokens + request.generated
        request.generated += 1
        if request.generated >= request.output_tokens:
            self.finished.append(request)
        else:
            self.batch.add(request)


def _noise(spec: NoiseSpec, seed: int) -> Iterator[float]:
    """Factors on step times."""
    rng = np.random.default_rng((seed, 6))
    while True:
        factors = np.maximum(rng.normal(1.0, spec.relative_standard_deviation, NOISE_BLOCK), LEAST_NOISE)
        outliers = rng.random(NOISE_BLOCK) < spec.outlier_probability
        yield from np.where(outliers, factors * spec.outlier_factor, factors).tolist()
