"""The ProfileIdentity of a running engine, from vLLM's own resolved configuration."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from turbospec.engine.graphs import captured_sizes, captures_graphs, start_up_schedule
from turbospec.engine.hardware import accelerator_facts, describe_accelerator, describe_cpu
from turbospec.wire.identity import ProfileIdentity

# Where a model lies says nothing of how fast it is; the library version that wrote the file does not either.
_IGNORED_MODEL_KEYS = frozenset({"_name_or_path", "name_or_path", "model", "transformers_version", "_commit_hash"})


def engine_identity(
    vllm_config: Any,
    *,
    runner: str,
    vllm_version: str,
    platform: Any,
    cpus: float,
    environ: Mapping[str, str] = os.environ,
) -> ProfileIdentity:
    """Everything that decides how long a step of this engine takes.

    ``platform`` is ``vllm.platforms.current_platform``; ``cpus`` are the usable CPUs counted before vLLM bound
    its threads.
    """
    speculative = vllm_config.speculative_config
    parallel = vllm_config.parallel_config
    facts = accelerator_facts(platform, int(parallel.tensor_parallel_size) * int(parallel.pipeline_parallel_size))
    return ProfileIdentity(
        hardware=describe_cpu(cpus) if facts is None else describe_accelerator(facts),
        target=model_fingerprint(vllm_config.model_config.hf_config),
        drafter=_drafter_fingerprint(speculative, vllm_config.model_config),
        method=str(getattr(speculative, "method", None) or "none"),
        engine_arguments=_engine_arguments(vllm_config, runner, facts is None, environ),
        engine_version=vllm_version,
    )


def model_fingerprint(hf_config: Any) -> str:
    """``model type - 16 hexadecimal digits`` of the configuration's content, free of paths."""
    content = hf_config.to_dict() if hasattr(hf_config, "to_dict") else dict(vars(hf_config))
    canonical = json.dumps(_without_paths(content), sort_keys=True, separators=(",", ":"), default=str)
    name = str(content.get("model_type") or "model")[:64]
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_paths(item) for key, item in value.items() if key not in _IGNORED_MODEL_KEYS}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    return value


def _drafter_fingerprint(speculative: Any, target: Any) -> str:
    """A drafter without a model of its own (ngram) is named by its method; vLLM then sets the target as its model."""
    draft_model = getattr(speculative, "draft_model_config", None)
    if speculative is None:
        return "none"
    if draft_model is None or draft_model is target or str(speculative.method).startswith("ngram"):
        return str(speculative.method)
    return model_fingerprint(draft_model.hf_config)


def _engine_arguments(vllm_config: Any, runner: str, on_cpu: bool, environ: Mapping[str, str]) -> dict[str, str]:
    model, cache, parallel = vllm_config.model_config, vllm_config.cache_config, vllm_config.parallel_config
    scheduler, speculative = vllm_config.scheduler_config, vllm_config.speculative_config
    arguments = {
        "model_runner": runner,
        "async_scheduling": _text(getattr(scheduler, "async_scheduling", False)),
        "tensor_parallel_size": _text(parallel.tensor_parallel_size),
        "pipeline_parallel_size": _text(parallel.pipeline_parallel_size),
        "dtype": _text(model.dtype),
        "quantization": _text(getattr(model, "quantization", None)),
        "kv_cache_dtype": _text(getattr(cache, "cache_dtype", None)),
        "max_num_batched_tokens": _text(scheduler.max_num_batched_tokens),
        "attention_backend": _attention_backend(vllm_config, environ),
        "lora": _lora(getattr(vllm_config, "lora_config", None)),
        "max_draft_tokens": _text(getattr(speculative, "num_speculative_tokens", None) or 0),
        **_graphs(vllm_config),
    }
    if str(getattr(speculative, "method", "")).startswith("ngram"):
        arguments["prompt_lookup"] = f"{_text(speculative.prompt_lookup_min)}-{_text(speculative.prompt_lookup_max)}"
    if on_cpu:
        arguments["omp_threads"] = _text(environ.get("OMP_NUM_THREADS"))
        arguments["omp_bound_cpus"] = bound_cpus(environ.get("VLLM_CPU_OMP_THREADS_BIND"))
    return arguments


def _graphs(vllm_config: Any) -> dict[str, str]:
    """Which graphs were captured; their sizes as a digest, because there may be hundreds."""
    if not captures_graphs(vllm_config):
        return {"cudagraph_mode": "none"}
    captured = f"{captured_sizes(vllm_config)};{sorted({k for _, _, k in start_up_schedule(vllm_config)})}"
    return {
        "cudagraph_mode": _text(vllm_config.compilation_config.cudagraph_mode),
        "cudagraph_sizes": hashlib.sha256(captured.encode()).hexdigest()[:8],
    }


def _attention_backend(vllm_config: Any, environ: Mapping[str, str]) -> str:
    chosen = getattr(getattr(vllm_config, "attention_config", None), "backend", None)
    return _text(chosen or environ.get("VLLM_ATTENTION_BACKEND") or "auto")


def _lora(lora_config: Any) -> str:
    return "none" if lora_config is None else f"rank {lora_config.max_lora_rank}, {lora_config.max_loras} adapters"


def bound_cpus(setting: str | None) -> str:
    """How many CPUs VLLM_CPU_OMP_THREADS_BIND binds, per worker: which ones they are does not change the step time."""
    if not setting:
        return "auto"
    counts = [_range_size(part) for part in setting.replace("|", ",").split(",")]
    known = [count for count in counts if count is not None]
    return str(sum(known)) if len(known) == len(counts) else setting


def _range_size(part: str) -> int | None:
    first, _, last = part.strip().partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        return None
    return int(last) - int(first) + 1 if last else 1


def _text(value: Any) -> str:
    """Enums by name, torch dtypes without their module, everything else as it prints."""
    if value is None:
        return "none"
    return str(getattr(value, "name", value)).removeprefix("torch.").lower()
