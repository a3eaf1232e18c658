"""Run by vLLM's own Python (test_real_seams.py): our runtime in vLLM's real schedulers, without a model or a server.

The worker is played here: it makes as many drafts as the step asks for and asserts what suffix asserts. Prints JSON.
"""

import json
import logging
import sys
from typing import Any

import torch
from vllm.config import CUDAGraphMode
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.spec_decode.dynamic.utils import build_dynamic_sd_schedule_lookup
from vllm.v1.structured_output import StructuredOutputManager
from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager, _is_compatible

from turbospec.control.engine_loop import LoopSettings
from turbospec.engine.graphs import captured_draft_tokens
from turbospec.engine.methods import installed_probe, model_runner, unsupported_reason
from turbospec.engine.scheduler import mixed_with

MAXIMUM, BLOCK = 5, 16
NGRAM = {"method": "ngram", "num_speculative_tokens": MAXIMUM, "prompt_lookup_max": 4}
DRAFT = {"method": "draft_model", "model": "the target's", "num_speculative_tokens": MAXIMUM}
EAGLE = {**DRAFT, "method": "eagle"}
SUFFIX = {"method": "suffix", "num_speculative_tokens": MAXIMUM}
TABLE = {"num_speculative_tokens_per_batch_size": [[1, 4, MAXIMUM], [5, 16, 1]]}
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "ngram": (NGRAM, {}),
    "ngram, table": ({**NGRAM, **TABLE}, {}),
    "ngram, DP2": (NGRAM, {"data_parallel_size": 2}),
    "ngram, PP2": (NGRAM, {"pipeline_parallel_size": 2}),
    "ngram, P/D": (NGRAM, {"kv_transfer_config": {"kv_connector": "NixlConnector", "kv_role": "kv_both"}}),
    "ngram, LoRA": (NGRAM, {"enable_lora": True}),
    "ngram_gpu": ({**NGRAM, "method": "ngram_gpu"}, {}),
    "suffix": (SUFFIX, {}),
    "suffix, table": ({**SUFFIX, **TABLE}, {}),
    "suffix, DP2": (SUFFIX, {"data_parallel_size": 2}),
    "suffix, PP2": (SUFFIX, {"pipeline_parallel_size": 2}),
    "draft_model": (DRAFT, {}),
    "draft_model, DP2": (DRAFT, {"data_parallel_size": 2}),
    "draft_model, PP2": (DRAFT, {"pipeline_parallel_size": 2}),
    "eagle, table": ({**EAGLE, **TABLE}, {}),
    "eagle, table, DP2": ({**EAGLE, **TABLE}, {"data_parallel_size": 2}),
    "custom_class": ({"method": "custom_class", "model": "a.B", "num_speculative_tokens": 2}, {}),
}


def engine_config(model: str, speculative: dict[str, Any], **changes: Any) -> Any:
    """As `vllm serve` resolves it."""
    if "model" in speculative and "." not in speculative["model"]:
        speculative = {**speculative, "model": model}
    return EngineArgs(
        model=model,
        enforce_eager=True,
        max_num_seqs=16,
        max_model_len=512,
        enable_prefix_caching=False,
        speculative_config=dict(speculative) or None,
        **changes,
    ).create_engine_config()


def boot_code(model: str, way: str) -> str | None:
    """The reason's code, or None where K is steered."""
    speculative, changes = WAYS[way]
    config = engine_config(model, speculative, **changes)
    reason = unsupported_reason(config, model_runner(config), on_cpu=True)
    return reason.code if reason is not None else None


def make_scheduler(model: str, base: type, speculative: dict[str, Any], *, log_stats: bool = True) -> Any:
    """vLLM's scheduler with the mixin, which attaches its runtime by itself."""
    config = engine_config(model, speculative)
    config.scheduler_config.async_scheduling = base is AsyncScheduler
    config.cache_config.num_gpu_blocks = 1000
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    return mixed_with(base)(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(1000, [], [KVCacheGroupSpec(["layer"], spec)]),
        block_size=BLOCK,
        log_stats=log_stats,
        structured_output_manager=StructuredOutputManager(config),
    )


def step(scheduler: Any, *, asserts: bool = False, accepted: int = 0) -> tuple[list[int], int]:
    """One step; the lengths of the drafts it verifies, and how many the worker was asked for."""
    output = scheduler.schedule()
    asked = output.num_spec_tokens_to_schedule
    assert not asserts or asked == MAXIMUM
    names = list(output.num_scheduled_tokens)
    widths = [len(output.scheduled_spec_decode_tokens.get(name, ())) for name in names]
    sampled = [[7] * (1 + min(accepted, width)) for width in widths]
    made = ModelRunnerOutput(names, {name: i for i, name in enumerate(names)}, sampled_token_ids=sampled)
    scheduler.get_grammar_bitmask(output)
    scheduler.update_from_output(output, made)
    if not isinstance(scheduler, AsyncScheduler):  # as EngineCore.post_step
        scheduler.update_draft_token_ids(DraftTokenIds(names, [[8] * asked for _ in names]))
    return widths, asked


def widths_at_every_k(model: str, base: type, speculative: dict[str, Any], *, asserts: bool) -> dict[str, Any]:
    """By K: what is verified from the second step after K was decided, and what the worker is asked for."""
    scheduler = make_scheduler(model, base, speculative)
    runtime = scheduler._turbospec.runtime
    assert runtime.unsupported() is None, runtime.unsupported()
    for name in "ab":
        scheduler.add_request(Request(name, list(range(20)), SamplingParams(max_tokens=200), None))
    step(scheduler, asserts=asserts)
    result = {}
    for k in (3, 0, 5, 1):
        runtime.configure(LoopSettings(mode="table", allowed=(k,), table=(k,) * 17))
        step(scheduler, asserts=asserts)
        result[str(k)] = step(scheduler, asserts=asserts)
    runtime_failed = runtime.unsupported()
    scheduler.shutdown()
    return {"widths": result, "failed": None if runtime_failed is None else runtime_failed.message}


def counted(model: str, base: type, speculative: dict[str, Any], *, log_stats: bool) -> list[Any]:
    """What the runtime counts of the same steps, from vLLM's statistics or without them."""
    scheduler = make_scheduler(model, base, speculative, log_stats=log_stats)
    runtime = scheduler._turbospec.runtime
    for name in "abc":
        scheduler.add_request(Request(name, list(range(20)), SamplingParams(max_tokens=200), None))
    for turn in range(24):
        k = (5, 3, 1, 0)[turn // 6]
        runtime.configure(LoopSettings(mode="table", allowed=(k,), table=(k,) * 17))
        step(scheduler, accepted=turn % 4)
    runtime.settle()
    totals, failed = runtime.telemetry.totals, runtime.unsupported()
    scheduler.shutdown()
    counts = [totals.drafts, totals.draft_tokens, totals.drafted_per_position, totals.accepted_per_position]
    return [None if failed is None else failed.message, totals.generated_tokens, *counts]


def full_graphs(model: str, table: list[list[int]], max_num_seqs: int, largest: int | None) -> dict[str, Any]:
    """What vLLM would capture on a GPU: its sizes, and by K the batches up to ``max_num_seqs`` without a full graph.
    ``largest``: ``--max-cudagraph-capture-size``."""
    maximum = max(k for _, _, k in table)
    speculative = {"method": "draft_model", "model": model, "num_speculative_tokens": maximum}
    speculative["num_speculative_tokens_per_batch_size"] = table
    config = engine_config(model, speculative)
    config.scheduler_config.max_num_seqs = max_num_seqs
    config.scheduler_config.max_num_batched_tokens = 8192
    config.model_config.enforce_eager = False
    compilation = config.compilation_config
    compilation.cudagraph_mode = CUDAGraphMode.FULL_AND_PIECEWISE
    compilation.cudagraph_capture_sizes, compilation.max_cudagraph_capture_size = None, largest
    config._set_cudagraph_sizes()
    manager = object.__new__(CudaGraphManager)  # without what its constructor asks of a GPU
    vars(manager).update(
        vllm_config=config, compilation_config=compilation, cudagraph_mode=compilation.cudagraph_mode,
        max_num_reqs=max_num_seqs, decode_query_len=maximum + 1, varlen_decode=False, ubatch_runner=None,
        lora_capture_cases=[0], _candidates={}, _capture_descs={},
    )  # fmt: skip
    manager._init_candidates()
    full = manager._capture_descs[CUDAGraphMode.FULL]

    def has_full(batch: int, width: int) -> bool:
        tokens = batch * width
        return any(
            one.cg_mode is CUDAGraphMode.FULL and _is_compatible(one, batch, tokens, width, 0, None, 1)
            for one in manager._candidates.get((tokens, 0), ())
        )

    ladder = sorted({k for _, _, k in table})
    without = {str(k): [batch for batch in range(1, max_num_seqs + 1) if not has_full(batch, k + 1)] for k in ladder}
    widths = sorted({one.uniform_token_count for one in full})
    return {"largest": max(compilation.cudagraph_capture_sizes), "widths": widths, "without": without,
            "captured": captured_draft_tokens(config, "v2"), "graphs": len(full)}  # fmt: skip


def main() -> None:
    """Everything, in one start of the interpreter: importing vLLM takes most of the time."""
    logging.disable(logging.WARNING)
    model, tables, ladders = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    drafting = {**DRAFT, "model": model}
    facts = installed_probe()("suffix", "v1")
    answer = {
        "mixed": [[one.__name__ for one in mixed_with(base).__mro__[:3]] for base in (Scheduler, AsyncScheduler)],
        "suffix": [facts.readable, facts.found, facts.asserts_length],
        "dense": [build_dynamic_sd_schedule_lookup(table, size, 5) for table, size in tables],
        "boot": {way: boot_code(model, way) for way in WAYS},
        "ngram": widths_at_every_k(model, Scheduler, NGRAM, asserts=False),
        "suffix trimmed": widths_at_every_k(model, Scheduler, SUFFIX, asserts=True),
        "suffix with a table": widths_at_every_k(model, Scheduler, {**SUFFIX, **TABLE}, asserts=True),
        "asynchronous": widths_at_every_k(model, AsyncScheduler, drafting, asserts=False),
        "counted": {
            base.__name__: [counted(model, base, drafting, log_stats=log_stats) for log_stats in (True, False)]
            for base in (Scheduler, AsyncScheduler)
        },
        "graphs": [full_graphs(model, *ladder) for ladder in ladders],
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
