"""uv, by which the demo fetches Python packages."""

import shutil
import subprocess
import sys
from pathlib import Path


def run_uv(*arguments: str) -> None:
    """Run uv: the one beside this interpreter, or the one on PATH. Raises RuntimeError where there is none."""
    beside = Path(sys.executable).parent / "uv"
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise RuntimeError("uv was not found: run `make setup`, or `pip install uv`")
    subprocess.run([program, *arguments], check=True)
