"""Which engines can be steered, and with which draft lengths. Every refusal is a code and a sentence."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from turbospec.wire.engine_state import Unsupported


class DraftCost(StrEnum):
    """How the cost of proposing drafts follows K."""

    SCALES = "scales with K"
    FIXED = "that of the maximum K, whatever K is"
    MATCHES = "of a text match on the host, nearly free"


@dataclass(frozen=True, slots=True)
class Steering:
    """One supported pair of speculative method and model runner."""

    draft_cost: DraftCost


# Read from the proposers of vLLM 0.25 to 0.33 (v1/spec_decode, v1/worker/gpu/spec_decode).
STEERABLE: dict[tuple[str, str], Steering] = {
    ("ngram", "v1"): Steering(DraftCost.MATCHES),
    ("ngram", "v2"): Steering(DraftCost.FIXED),
    ("draft_model", "v1"): Steering(DraftCost.SCALES),
    ("draft_model", "v2"): Steering(DraftCost.FIXED),
    ("eagle", "v1"): Steering(DraftCost.SCALES),
    ("eagle", "v2"): Steering(DraftCost.SCALES),
    ("eagle3", "v1"): Steering(DraftCost.SCALES),
    ("eagle3", "v2"): Steering(DraftCost.SCALES),
    ("mtp", "v1"): Steering(DraftCost.SCALES),
    ("mtp", "v2"): Steering(DraftCost.SCALES),
}

# Their proposers assert that K is the maximum: another K would end the engine.
FIXED_LENGTH_METHODS = frozenset({"suffix", "medusa", "ngram_gpu", "mlp_speculator", "extract_hidden_states"})


def model_runner(vllm_config: Any) -> str:
    """``v1`` or ``v2``; releases that do not know the property have V1 only."""
    return "v2" if getattr(vllm_config, "use_v2_model_runner", False) else "v1"


def unsupported_reason(vllm_config: Any, runner: str, *, on_cpu: bool) -> Unsupported | None:
    """Why K of this engine cannot be steered; None where it can. Never raises on a configuration vLLM accepted."""
    speculative = vllm_config.speculative_config
    if speculative is None or not speculative.num_speculative_tokens:
        return _no(
            "NoSpeculation", "the engine was started without --speculative-config: there is no draft length to choose"
        )
    for check in (_parallelism, _drafting, _transfer):
        reason = check(vllm_config)
        if reason is not None:
            return reason
    method = str(speculative.method)
    if method in FIXED_LENGTH_METHODS:
        return _no(
            "FixedLengthMethod",
            f"method {method!r} proposes exactly num_speculative_tokens drafts and asserts it: none shorter",
        )
    if (method, runner) not in STEERABLE:
        return _no(
            "UnknownMethod", f"method {method!r} on model runner {runner.upper()} has not been tried with a changing K"
        )
    if not on_cpu and not start_up_schedule(vllm_config):
        return _no(
            "NoStartupTable",
            "the engine captured graphs for one draft length only: start it with num_speculative_tokens_per_batch_size "
            "in --speculative-config, naming every K that may be used",
        )
    return None


def _parallelism(vllm_config: Any) -> Unsupported | None:
    parallel = vllm_config.parallel_config
    if int(parallel.data_parallel_size) > 1:
        return _no(
            "DataParallel",
            "data_parallel_size is above 1: ranks with different draft lengths would wait for each other",
        )
    if int(parallel.pipeline_parallel_size) > 1:
        return _no("PipelineParallel", "pipeline_parallel_size is above 1: its step times have not been measured")
    return None


def _drafting(vllm_config: Any) -> Unsupported | None:
    speculative = vllm_config.speculative_config
    if getattr(speculative, "parallel_drafting", False):
        return _no(
            "ParallelDrafting", "parallel_drafting proposes all drafts in one pass, at a length fixed by the drafter"
        )
    if getattr(speculative, "enable_adaptive_verification", False):
        return _no("AdaptiveVerification", "enable_adaptive_verification already chooses how many drafts are verified")
    return None


def _transfer(vllm_config: Any) -> Unsupported | None:
    transfer = getattr(vllm_config, "kv_transfer_config", None)
    if transfer is not None and getattr(transfer, "kv_connector", "set") is not None:
        return _no(
            "DisaggregatedServing",
            "the engine transfers KV cache (kv_transfer_config): not measured yet with a changing K",
        )
    return None


def captures_graphs(vllm_config: Any) -> bool:
    """Whether this engine replays CUDA graphs: not on CPU, not with enforce_eager, not with cudagraph_mode NONE."""
    if getattr(vllm_config.model_config, "enforce_eager", False):
        return False
    mode = getattr(getattr(vllm_config, "compilation_config", None), "cudagraph_mode", None)
    return mode is not None and str(getattr(mode, "name", mode)).upper() != "NONE"


def captured_sizes(vllm_config: Any) -> tuple[int, ...]:
    """The batch sizes, in tokens, for which graphs were captured, ascending; empty where none were."""
    if not captures_graphs(vllm_config):
        return ()
    sizes = getattr(vllm_config.compilation_config, "cudagraph_capture_sizes", None) or ()
    return tuple(sorted(int(size) for size in sizes))


def start_up_schedule(vllm_config: Any) -> tuple[tuple[int, int, int], ...]:
    """``num_speculative_tokens_per_batch_size`` as (first batch, last batch, K); empty where the engine has none."""
    rows = getattr(vllm_config.speculative_config, "num_speculative_tokens_per_batch_size", None) or ()
    return tuple((int(row[0]), int(row[1]), int(row[2])) for row in rows)


def allowed_draft_tokens(vllm_config: Any) -> tuple[int, ...]:
    """The K this engine may run, ascending: all where no graphs are captured, else those of its start-up table."""
    speculative = vllm_config.speculative_config
    maximum = int(getattr(speculative, "num_speculative_tokens", None) or 0)
    schedule = start_up_schedule(vllm_config) if maximum else ()
    if captures_graphs(vllm_config) and schedule:
        return tuple(sorted({min(maximum, k) for _, _, k in schedule}))
    return tuple(range(maximum + 1))


def _no(code: str, message: str) -> Unsupported:
    return Unsupported(code=code, message=message)
