"""A draft model for SmolLM2 made of its own first layers: same tokenizer, a fifth of the work, little acceptance.

What a step costs does not depend on acceptance, so it serves to measure step times; it would not speed anything up.
"""

import json
import shutil
import struct
from pathlib import Path

LAYERS = 6
OTHER_FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")


def make_drafter(model: Path, out: Path, layers: int = LAYERS) -> Path:
    """Copies a Llama in one safetensors file to ``out`` with its first ``layers`` layers only."""
    out.mkdir(parents=True)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (out / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}), encoding="utf-8")
    for name in OTHER_FILES:
        if (model / name).exists():
            shutil.copy(model / name, out / name)
    with (model / "model.safetensors").open("rb") as source, (out / "model.safetensors").open("wb") as target:
        (length,) = struct.unpack("<Q", source.read(8))
        header = json.loads(source.read(length))
        kept = {name: entry for name, entry in header.items() if name == "__metadata__" or _is_kept(name, layers)}
        moved, at = {}, 0
        for name, entry in kept.items():
            if name == "__metadata__":
                moved[name] = entry
                continue
            begin, end = entry["data_offsets"]
            moved[name] = entry | {"data_offsets": [at, at + end - begin]}
            at += end - begin
        text = json.dumps(moved).encode()
        text += b" " * (-len(text) % 8)
        target.write(struct.pack("<Q", len(text)) + text)
        for name, entry in kept.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                source.seek(8 + length + begin)
                target.write(source.read(end - begin))
    return out


def _is_kept(name: str, layers: int) -> bool:
    """Whether a tensor belongs to one of the first layers, or to none (embeddings, last norm)."""
    parts = name.split(".")
    return "layers" not in parts or int(parts[parts.index("layers") + 1]) < layers
