"""A VllmConfig as far as the runtime reads it."""

from enum import Enum
from types import SimpleNamespace
from typing import Any


class CUDAGraphMode(Enum):
    """vLLM's names."""

    NONE = 0
    PIECEWISE = 1
    FULL = 2
    FULL_DECODE_ONLY = 4
    FULL_AND_PIECEWISE = 3


class HfConfig:
    """A Hugging Face configuration."""

    def __init__(self, **content: Any) -> None:
        self.content = {
            "model_type": "llama",
            "hidden_size": 576,
            "_name_or_path": "/models/a",
            "transformers_version": "5.0",
            "rope": {"factor": 2, "_name_or_path": "/models/a"},
            **content,
        }

    def to_dict(self) -> dict[str, Any]:
        return self.content


def vllm_config(
    *,
    speculative: bool = True,
    method: str = "ngram",
    num_speculative_tokens: int | None = 5,
    table: Any = None,
    parallel_drafting: bool = False,
    enable_adaptive_verification: bool = False,
    data_parallel_size: int = 1,
    pipeline_parallel_size: int = 1,
    tensor_parallel_size: int = 1,
    kv_transfer_config: Any = None,
    enforce_eager: bool = False,
    cudagraph_mode: str | None = None,
    capture_sizes: Any = (),
    hf_config: Any = None,
    draft_hf_config: Any = None,
    dtype: str = "torch.bfloat16",
    max_num_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
    async_scheduling: bool = False,
    use_v2_model_runner: bool = False,
    speculator: str | None = None,
    kv_cache_dtype: str = "auto",
    attention_backend: Any = None,
    lora_config: Any = None,
    prompt_lookup_max: int = 4,
) -> Any:
    """An engine with ngram speculation on one device, changed as asked. ``speculator``: which kind of mtp."""
    target = SimpleNamespace(
        hf_config=hf_config or HfConfig(),
        dtype=dtype,
        quantization=None,
        enforce_eager=enforce_eager,
        max_model_len=1024,
    )
    draft = SimpleNamespace(hf_config=draft_hf_config) if draft_hf_config is not None else target
    return SimpleNamespace(
        model_config=target,
        cache_config=SimpleNamespace(cache_dtype=kv_cache_dtype),
        parallel_config=SimpleNamespace(
            data_parallel_size=data_parallel_size,
            pipeline_parallel_size=pipeline_parallel_size,
            tensor_parallel_size=tensor_parallel_size,
            data_parallel_rank=0,
        ),
        use_v2_model_runner=use_v2_model_runner,
        scheduler_config=SimpleNamespace(
            max_num_batched_tokens=max_num_batched_tokens, max_num_seqs=max_num_seqs, async_scheduling=async_scheduling
        ),
        compilation_config=SimpleNamespace(
            cudagraph_mode=CUDAGraphMode[cudagraph_mode] if cudagraph_mode else None,
            cudagraph_capture_sizes=list(capture_sizes),
        ),
        attention_config=SimpleNamespace(backend=attention_backend),
        lora_config=lora_config,
        kv_transfer_config=kv_transfer_config,
        speculative_config=SimpleNamespace(
            method=method,
            num_speculative_tokens=num_speculative_tokens,
            num_speculative_tokens_per_batch_size=table,
            parallel_drafting=parallel_drafting,
            enable_adaptive_verification=enable_adaptive_verification,
            draft_model_config=draft,
            prompt_lookup_min=1,
            prompt_lookup_max=prompt_lookup_max,
            use_gemma4_mtp=lambda: speculator == "gemma4",
            use_step3p5_mtp=lambda: speculator == "step3p5",
            use_multi_module_mtp=lambda: speculator == "multi_module",
        )
        if speculative
        else None,
    )
