"""Writes the cycle model: a real Llama whose layers compute and change nothing, and whose next byte is always b + 1.

Every layer's output projections are zero, so the residual stream keeps the embedding, and the head is a table: after
byte ``b`` comes ``(b + 1) % 256``. Greedy text is known in advance, costs what a model of this width and depth costs,
and repeats itself only after 256 tokens, so that the prompt alone decides what an n-gram drafter proposes
(``e2e.models.prompts``).

Run by the interpreter that has vLLM (it needs torch, safetensors and tokenizers):
``python -m e2e.models.make_cycle OUT WIDTH LAYERS``.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<unk>"]
VOCABULARY = len(SPECIAL_TOKENS) + 256
HEAD_DIM = 64
LOGIT = 8.0
"""Size of the right logit before RMSNorm scales it by sqrt(width): far above bfloat16 noise."""


def byte_characters() -> dict[int, str]:
    """GPT-2's printable character for each byte, which is what the byte-level tokenizer writes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    hidden = [byte for byte in range(256) if byte not in table]
    return table | {byte: chr(256 + index) for index, byte in enumerate(hidden)}


def write_tokenizer(out: Path) -> None:
    """A tokenizer in which byte ``b`` is token ``4 + b``."""
    characters = byte_characters()
    vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    vocabulary |= {characters[byte]: len(SPECIAL_TOKENS) + byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))  # noqa: S106 (not a password)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        "chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: ",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings))


def write_config(out: Path, width: int, layers: int) -> None:
    """Hugging Face configuration of a Llama with this width and depth."""
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": width * 8 // 3,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD_DIM,
        "num_key_value_heads": width // HEAD_DIM,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        **tokens,
    }
    (out / "config.json").write_text(json.dumps(config))
    (out / "generation_config.json").write_text(json.dumps(tokens))


def weights(width: int, layers: int) -> dict[str, torch.Tensor]:
    """Random layers that add exactly nothing, a one-hot embedding, and a head that shifts by one byte."""
    torch.manual_seed(0)
    hidden = width * 8 // 3
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj"):
            tensors[f"{prefix}self_attn.{name}.weight"] = torch.randn(width, width) * width**-0.5
        tensors[f"{prefix}self_attn.o_proj.weight"] = torch.zeros(width, width)
        for name in ("gate_proj", "up_proj"):
            tensors[f"{prefix}mlp.{name}.weight"] = torch.randn(hidden, width) * width**-0.5
        tensors[f"{prefix}mlp.down_proj.weight"] = torch.zeros(width, hidden)
        tensors[f"{prefix}input_layernorm.weight"] = torch.ones(width)
        tensors[f"{prefix}post_attention_layernorm.weight"] = torch.ones(width)
    tensors["model.norm.weight"] = torch.ones(width)
    embedding, head = torch.zeros(VOCABULARY, width), torch.zeros(VOCABULARY, width)
    first = len(SPECIAL_TOKENS)
    for byte in range(256):
        embedding[first + byte, byte] = 1.0
        head[first + (byte + 1) % 256, byte] = LOGIT / width**0.5
    head[:first] = -1.0  # specials never win
    return tensors | {"model.embed_tokens.weight": embedding, "lm_head.weight": head}


def main(out: Path, width: int, layers: int) -> None:
    """Write the model folder. ``width`` is a multiple of 64 and at least 256 (one dimension for each byte)."""
    if width < 256 or width % HEAD_DIM:
        sys.exit(f"width {width}: must be a multiple of {HEAD_DIM} and at least 256")
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(out)
    write_config(out, width, layers)
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights(width, layers).items()}
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors writes 0600; a pod may run as another user


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
