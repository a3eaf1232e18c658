"""A real shell with a `vllm` that writes down how it was called."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

RECORDER = """#!/bin/sh
for argument in "$@"; do printf '%s\\0' "$argument" >> "$RECORD"; done
printf '\\n\\0' >> "$RECORD"
"""

Shell = Callable[..., list[list[str]]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs an argument vector with recording `vllm`, `python3` and `exec`-able paths; returns the recorded calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "python", "python3", "numactl"):
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)
    record = tmp_path / "record"

    def run(argv: list[str], variables: Mapping[str, str] | None = None) -> list[list[str]]:
        record.unlink(missing_ok=True)
        environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "RECORD": str(record),
            "MODEL": "org/my model",
            "EXTRA": "--max-num-seqs 8",
            "BIN": str(folder),
            **(variables or {}),
        }
        done = subprocess.run(
            argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        calls: list[list[str]] = []
        current: list[str] = []
        for argument in record.read_text().split("\0")[:-1]:
            if argument == "\n":
                calls.append(current)
                current = []
            else:
                current.append(argument)
        return calls

    return run
