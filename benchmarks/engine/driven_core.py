"""vLLM's own EngineCore and scheduler with an executor that computes nothing. Runs in vLLM's environment.

Order of calls, batch queue, placeholders and statistics are vLLM's. The executor keeps a device's calendar on a clock
of its own: a step's tokens are known ``step_seconds`` after the device got free; its drafts follow (model runner V2)
or come first (V1). What it did is its own log, against which the runtime's records can be held.
"""

import os
import random
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from vllm import SamplingParams
from vllm.config import CUDAGraphMode, VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine.core import EngineCore
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.kv_cache_layout import KVCacheLayout
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output.request import StructuredOutputRequest

VOCABULARY = 200
GRAMMAR_DRAFTS = 2
"""So many of a request's drafts its grammar lets pass."""
KV_BYTES = 64 * 2**20


@dataclass
class Clock:
    """Seconds that the device's calendar moves; in place of ``time`` in the runtime's scheduler mixin."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Executed:
    """What the worker did in one step."""

    started: float
    completed: float
    requests: int
    tokens: int
    widths: list[int]
    """Draft tokens verified, by decoding request."""
    held: list[int]
    """Draft tokens the worker had for each of them."""
    draft_passes: int


class Later(Future[Any]):
    """A result that waits for the device; whoever asks for it turns the clock."""

    def __init__(self, clock: Clock, when: float, value: Any) -> None:
        super().__init__()
        self._clock, self._when, self._value = clock, when, value

    def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - the base class's signature
        self._clock.now = max(self._clock.now, self._when)
        return self._value


@dataclass
class _Held:
    """A request as the worker knows it."""

    prompt: int
    computed: int
    generated: int = 0
    drafts: int = 0


def token(request_id: str, position: int) -> int:
    """The only right token of a request at a position of its output."""
    return (zlib.crc32(request_id.encode()) + 31 * position) % VOCABULARY


def _no_seconds(_: int) -> float:
    return 0.0


@dataclass
class Device:
    """How long things take, how likely drafts are accepted, and what was done."""

    clock: Clock = field(default_factory=Clock)
    step_seconds: Callable[[int], float] = _no_seconds
    """Of the tokens in the step."""
    pass_seconds: float = 0.0
    acceptance: float = 0.7
    drafts_after_completion: bool = True
    logging: bool = True
    log: list[Executed] = field(default_factory=list)
    grammars: set[str] = field(default_factory=set)
    """Requests with structured output."""
    free: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(5))  # noqa: S311 - no secret


class DrivenExecutor(Executor):  # type: ignore[misc]  # vLLM is not here while types are checked
    """An executor whose device is a calendar."""

    device: Device
    supports_pp = True

    def _init_executor(self) -> None:
        self._requests: dict[str, _Held] = {}
        self._pending: ModelRunnerOutput | None = None
        self._completed = 0.0
        # Of the last step and of the one before it; a step drafts when its tokens are sampled.
        self._drafted: DraftTokenIds | None = None
        self._drafted_before: DraftTokenIds | None = None
        self._sampled = True

    def collective_rpc(self, method: Any, *_: Any, **__: Any) -> list[Any]:
        """The questions that start-up asks of the workers."""
        spec = FullAttentionSpec(block_size=16, num_kv_heads=1, head_size=8, dtype=torch.float32)
        answers: dict[str, Any] = {
            "get_kv_cache_spec": {"model.layers.0.self_attn": spec},
            "get_supported_kv_cache_layouts": [KVCacheLayout.LBHNC.name],
            "determine_available_memory": KV_BYTES,
            "get_supported_tasks": ("generate",),
        }
        return [answers.get(method)]

    def compile_or_warm_up_model(self) -> None:
        """Nothing to warm."""

    def check_health(self) -> None:
        """Always well."""

    def execute_model(self, scheduler_output: SchedulerOutput, non_block: bool = False) -> Any:
        """Enters the step into the calendar."""
        output = scheduler_output
        if not output.total_num_scheduled_tokens:
            empty = ModelRunnerOutput(req_ids=[], req_id_to_index={})
            return Later(self.device.clock, 0.0, empty) if non_block else empty
        self._pending, self._sampled = self._run(output), False
        return Later(self.device.clock, 0.0, None) if non_block else None

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:  # noqa: ARG002
        """The step's tokens, when they are known."""
        self._sampled = True
        later = Later(self.device.clock, self._completed, self._pending)
        return later if non_block else later.result()

    def take_draft_token_ids(self) -> DraftTokenIds | None:
        """What was drafted after the last step whose tokens were sampled."""
        return self._drafted if self._sampled else self._drafted_before

    def _run(self, output: SchedulerOutput) -> ModelRunnerOutput:
        device, requests = self.device, self._requests
        for name in output.finished_req_ids:
            requests.pop(name, None)
        for new in output.scheduled_new_reqs:
            requests[new.req_id] = _Held(new.prompt_len, new.num_computed_tokens)
        k = output.num_spec_tokens_to_schedule
        spec = output.scheduled_spec_decode_tokens
        sampled: list[list[int]] = []
        widths: list[int] = []
        held: list[int] = []
        drafting: list[str] = []
        for name, count in output.num_scheduled_tokens.items():
            request = requests[name]
            if request.computed < request.prompt:  # prefill
                request.computed += count
                if request.computed < request.prompt:
                    sampled.append([])
                    continue
                accepted = 0
            else:
                width = len(spec.get(name, ()))
                widths.append(width)
                held.append(request.drafts)
                accepted = 0
                most = min(width, GRAMMAR_DRAFTS) if name in device.grammars else width
                while accepted < most and device.chance.random() < device.acceptance:
                    accepted += 1
            first = request.generated
            sampled.append([token(name, first + i) for i in range(accepted + 1)])
            request.generated += accepted + 1
            request.drafts = k
            drafting.append(name)
        passes = k if drafting else 0
        self._drafted_before = self._drafted
        self._drafted = DraftTokenIds(drafting, [[1] * k for _ in drafting])
        started = max(device.free, device.clock.now)
        completed = started + device.step_seconds(output.total_num_scheduled_tokens)
        if not device.drafts_after_completion:
            completed += passes * device.pass_seconds
        device.free = completed + (passes * device.pass_seconds if device.drafts_after_completion else 0.0)
        self._completed = completed
        if device.logging:
            tokens = output.total_num_scheduled_tokens
            device.log.append(Executed(started, completed, len(sampled), tokens, widths, held, passes))
        names = list(output.num_scheduled_tokens)
        return ModelRunnerOutput(names, {name: index for index, name in enumerate(names)}, sampled)


class Grammars:
    """In place of vLLM's manager, which needs a tokenizer; what it says of a request is always the same."""

    def validate_tokens(self, request: Request, tokens: list[int]) -> list[int]:
        """The drafts that pass."""
        return tokens[:GRAMMAR_DRAFTS] if request.use_structured_output else tokens

    def grammar_bitmask(self, *_: Any) -> None:
        """The worker here needs none."""

    def accept_tokens(self, *_: Any) -> bool:
        """Every sampled token."""
        return True


class DrivenCore:
    """An EngineCore with the TurboSpec plugin as vLLM loads it, stepped by hand."""

    def __init__(self, config: VllmConfig, device: Device) -> None:
        self.device = device
        executor = type("Executor", (DrivenExecutor,), {"device": device})
        self.core = EngineCore(config, executor, log_stats=True)
        self.outputs: dict[str, list[int]] = {}
        self.finished: dict[str, str] = {}

    @property
    def scheduler(self) -> Any:
        return self.core.scheduler

    def add(self, name: str, prompt_tokens: int, max_tokens: int, *, grammar: bool = False) -> None:
        """One greedy request that ends by its length."""
        parameters = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
        parameters.update_from_generation_config({}, None)
        request = Request(name, [1] * prompt_tokens, parameters, None)
        self.outputs[name] = []
        if grammar:
            self.scheduler.structured_output_manager = Grammars()
            request.structured_output_request = StructuredOutputRequest(StructuredOutputsParams(regex="."))
            self.device.grammars.add(name)
        self.core.add_request(request)

    def step(self) -> bool:
        """What EngineCoreProc does in one turn; whether a model step was scheduled in it."""
        outputs, executed = self.core.step_fn()
        self.core.post_step(executed)
        for out in (outputs or {}).get(0, _NOTHING).outputs:
            self.outputs[out.request_id].extend(out.new_token_ids)
            if out.finish_reason is not None:
                self.finished[out.request_id] = str(out.finish_reason)
        return bool(executed)

    def busy(self) -> bool:
        """Whether a request is waiting, running or in flight."""
        return bool(self.scheduler.has_requests() or self.core.batch_queue)


class _Nothing:
    outputs: tuple[Any, ...] = ()


_NOTHING: Any = _Nothing()


def gpu_like_config(model: Path, table: list[list[int]], *, max_num_seqs: int = 256, max_model_len: int = 8192) -> Any:
    """Model runner V2, asynchronous scheduling, EAGLE, full CUDA graphs: what vLLM's configuration says on a GPU."""
    config = _config(model, table, "eagle", max_num_seqs, max_model_len)
    # All are refused or overruled on a machine without a GPU while the configuration is checked; afterwards nothing
    # reads them but scheduler, engine core and our runtime.
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"
    config.compilation_config.cudagraph_mode = CUDAGraphMode.FULL
    config.compilation_config.cudagraph_capture_sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    config.scheduler_config.async_scheduling = True
    if not config.use_v2_model_runner:
        raise RuntimeError("this release of vLLM does not take VLLM_USE_V2_MODEL_RUNNER any more")
    return config


def cpu_config(model: Path, table: list[list[int]], *, max_num_seqs: int = 256, max_model_len: int = 8192) -> Any:
    """Model runner V1, synchronous scheduling, ngram: vLLM on a CPU."""
    return _config(model, table, "ngram", max_num_seqs, max_model_len)


def _config(model: Path, table: list[list[int]], method: str, max_num_seqs: int, max_model_len: int) -> VllmConfig:
    speculative: dict[str, Any] = {
        "method": method,
        "num_speculative_tokens": max(row[2] for row in table),
        "num_speculative_tokens_per_batch_size": table,
    }
    speculative |= {"prompt_lookup_max": 4, "prompt_lookup_min": 1} if method == "ngram" else {"model": str(model)}
    arguments = EngineArgs(
        model=str(model),
        dtype="float32",
        skip_tokenizer_init=True,
        max_model_len=max_model_len,
        hf_overrides={"max_position_embeddings": max_model_len},
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=8192,
        enable_prefix_caching=False,
        kv_cache_memory_bytes=KV_BYTES,
        speculative_config=speculative,
    )
    return arguments.create_engine_config()


def as_rows(log: list[Executed]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(one) for one in log]
