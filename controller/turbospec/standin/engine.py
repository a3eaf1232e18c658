"""One stand-in engine: simulated steps under the real engine loop, telemetry and control documents."""

import asyncio
import time
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from turbospec.control.step import StepComposition, StepRecord
from turbospec.engine.control_requests import ControlApi, ControlRequests
from turbospec.engine.controller import DocumentController
from turbospec.engine.metrics import RECENT_SECONDS, metrics_registry, metrics_text
from turbospec.engine.records import StepRing
from turbospec.engine.runtime import EngineFacts, EngineRuntime
from turbospec.engine.state import engine_state, served_cells
from turbospec.engine.telemetry import DraftCounts
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile
from turbospec.simulation.workload import Request
from turbospec.standin.generation import Generation
from turbospec.standin.options import StandInOptions
from turbospec.standin.pace import Pace
from turbospec.standin.texts import Texts
from turbospec.standin.vllm_metrics import VllmCollector, VllmCounters
from turbospec.wire.control_document import ControlAnswer, ControlDocument

RING_STEPS = 512
"""Step records kept. A real engine keeps 4,096; a thousand busy stand-ins would hold gigabytes of them."""


@dataclass(slots=True, eq=False)
class _Step:
    """A step between its beginning and its completion. ``scheduled_new_reqs`` as vLLM's SchedulerOutput has it: every
    decode of the simulator was asked for drafts in the step before."""

    composition: StepComposition | None = None
    seq: int = 0
    record: StepRecord | None = None
    scheduled_new_reqs: tuple[()] = field(default=())


class StandInEngine:
    """Serves requests at simulated step times. Everything runs in the event loop's thread."""

    def __init__(
        self,
        spec: EngineFile,
        facts: EngineFacts,
        options: StandInOptions,
        texts: Texts,
        *,
        seed: int,
        token_sha256: str | None,
    ) -> None:
        self.options = options
        self._ready_at = time.monotonic() + options.start_up_seconds / options.speed
        self.simulated = SimulatedEngine(
            spec,
            texts.bank,
            seed,
            plain=options.plain,
            drafts_after_completion=options.drafts_after_completion,
        )
        self.runtime = EngineRuntime(_Scheduler(self.simulated), facts)
        self.runtime.intake.ring = StepRing(RING_STEPS)
        self.counters = VllmCounters(spec.max_model_len, facts.limits.max_draft_tokens)
        self.pace = Pace(options.speed, self._begin, self._complete)
        self.controller = DocumentController(
            self.runtime.loop_limits,
            apply=self.runtime.configure,
            next_step=lambda: self.runtime.next_seq,
            unsupported=self.runtime.unsupported,
            clock=time.monotonic,
            store=None,
        )
        self.control = ControlRequests(self._api(), token_sha256)
        self._texts = texts
        self._vllm_registry = CollectorRegistry()
        self._vllm_registry.register(VllmCollector(self.simulated, self.counters, options.model))
        self._step = _Step()
        self._requests = 0
        self._generations: dict[int, Generation] = {}
        self._streamed: dict[int, Generation] = {}

    @property
    def ready(self) -> bool:
        """Whether its start-up is over."""
        return time.monotonic() >= self._ready_at

    def vllm_metrics(self) -> bytes:
        """The answer of GET /metrics on the serving port."""
        return metrics_text(self._vllm_registry)

    def request(self, prompt_tokens: int, output_tokens: int, acceptance: tuple[float, ...] | None) -> Request:
        """A request that has just arrived; it has to be submitted with its generation."""
        number = self._requests
        self._requests += 1
        text, place = self._texts.text(acceptance or self.options.acceptance, number)
        return Request(number, self._arrival(), prompt_tokens, output_tokens, text, place)

    def submit(self, generation: Generation) -> None:
        """Begin to answer. ValueError where the request can never fit into the KV cache."""
        self.simulated.submit(generation.request)
        number = generation.request.number
        self.runtime.requests.arrived += 1
        self.runtime.requests.began(generation.request.prompt_tokens)
        self._generations[number] = generation
        if generation.streamed:
            self._streamed[number] = generation
        self.pace.wake()

    def cancel(self, generation: Generation) -> None:
        """Its client has gone; nothing happens where it is complete."""
        number = generation.request.number
        if self._generations.pop(number, None) is None:
            return
        self._streamed.pop(number, None)
        self.simulated.cancel(generation.request)
        self.runtime.requests.went(generation.request.generated)
        self.counters.finished["abort"] += 1

    def put(self, document: ControlDocument) -> ControlAnswer:
        """As the control server's PUT; nobody looks at idle engines once a second, so overlays set their own alarm."""
        answer = self.controller.put(document)
        if document.ttl_seconds is not None:
            asyncio.get_running_loop().call_later(document.ttl_seconds, self.controller.tick)
        return answer

    def _api(self) -> ControlApi:
        registry = metrics_registry(
            self.runtime, self.controller, now=self.pace.now, recent_seconds=RECENT_SECONDS * self.options.speed
        )
        return ControlApi(
            state=lambda: engine_state(self.runtime, self.controller),
            put=self.put,
            refused=self.controller.refused,
            steps=self.runtime.ring.page,
            cells=lambda: served_cells(self.runtime),
            metrics=lambda: metrics_text(registry),
        )

    def _arrival(self) -> float:
        # What arrives while a step runs is looked at when it ends; that the process noticed late is not waiting time.
        now = self.pace.now()
        return min(now, self.simulated.now) if self.pace.stepping else now

    def _begin(self, idle_until: float | None) -> float | None:
        """Take one step; when it ends, in simulated seconds."""
        if idle_until is not None:
            self.simulated.idle_until(idle_until)
        if not self.simulated.busy:
            return None
        step = self._step = _Step()
        step.record = record = self.simulated.step(self._decide)
        if record is None or step.composition is None:
            raise RuntimeError("the simulated engine took a step without deciding K")
        self.runtime.telemetry.scheduled(
            step.seq, step, step.composition, record.verified_draft_tokens, record.decided_draft_tokens
        )
        return self.simulated.now

    def _decide(self, composition: StepComposition) -> int:
        """K of the coming step; its number is taken first, as in vLLM: a document that was acknowledged with step s
        decides s and all after it."""
        runtime, step = self.runtime, self._step
        step.composition, step.seq = composition, runtime.next_seq
        runtime.next_seq += 1
        if runtime.loop is None:
            return runtime.facts.startup_table[min(composition.decodes, len(runtime.facts.startup_table) - 1)]
        return runtime.loop.draft_tokens(composition)

    def _complete(self) -> None:
        """The step has taken its time: its tokens are there."""
        step, simulated, runtime = self._step, self.simulated, self.runtime
        simulation = step.record
        if simulation is None:
            return
        record = runtime.telemetry.completed(step, simulated.now, _counts(simulation), simulation.generated_tokens)
        runtime.requests.prefill_tokens += simulation.prefill_tokens
        if not simulated.busy:
            runtime.telemetry.drained()
        if record is not None:
            runtime.ring.append(record)
            if runtime.loop is not None:
                runtime.loop.observe(record)
        self.counters.step(simulated, simulation)
        self._deliver()

    def _deliver(self) -> None:
        """Wake those who wait for tokens of this step."""
        for request in self.simulated.finished:
            generation = self._generations.pop(request.number, None)
            if generation is not None:
                self._streamed.pop(request.number, None)
                self.runtime.requests.went(request.output_tokens)
                self.counters.ended(request, generation.reason, generation.max_tokens)
                generation.finish()
        if self._streamed:
            batch = self.simulated.batch
            for request, tokens in zip(batch.requests, batch.progress(), strict=True):
                streamed = self._streamed.get(request.number)
                if streamed is not None:
                    streamed.advance(tokens)


class _Scheduler:
    """What EngineRuntime asks of vLLM's scheduler outside its hooks."""

    log_stats = True

    def __init__(self, simulated: SimulatedEngine) -> None:
        self._simulated = simulated
        self.kv_cache_manager = self

    def get_request_counts(self) -> tuple[int, int]:
        """Running and waiting."""
        simulated = self._simulated
        return len(simulated.batch) + len(simulated.prefilling), len(simulated.waiting)

    @property
    def usage(self) -> float:
        """Share of the KV cache in use."""
        return self._simulated.kv_tokens / self._simulated.capacity


def _counts(record: StepRecord) -> DraftCounts:
    drafted, accepted = record.drafted_per_position, record.accepted_per_position
    return DraftCounts(drafted[0], record.verified_draft_tokens, sum(accepted), drafted, accepted)
