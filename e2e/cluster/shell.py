"""Running other programs: as root where that is needed, with an error a person can act on."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from e2e.cluster.errors import ClusterError

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where `ip` and `runc` live; not on every user's PATH
ERROR_TAIL_CHARACTERS = 2000


def find(program: str) -> str | None:
    """Full path of a program, looking in the system folders too."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])
    return shutil.which(program, path=path)


def as_root(command: Sequence[str]) -> list[str]:
    """The command, through sudo where we are not root ourselves."""
    return list(command) if os.geteuid() == 0 else ["sudo", "--", *command]


def run(
    command: Sequence[str | Path], *, text_input: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Standard output of a command.

    Raises:
        ClusterError: it failed; the message names it and ends with what it said.
    """
    arguments = [str(part) for part in command]
    env = None if environment is None else {**os.environ, **environment}
    try:
        done = subprocess.run(arguments, input=text_input, capture_output=True, text=True, check=False, env=env)
    except FileNotFoundError as error:
        raise ClusterError(f"{arguments[0]} is not installed") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-ERROR_TAIL_CHARACTERS:]
        raise ClusterError(f"`{' '.join(arguments)}` failed with status {done.returncode}: {said}")
    return done.stdout


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, every: float = 0.1) -> None:
    """Poll until true, by the clock: one poll may itself take seconds on a loaded machine.

    Raises:
        ClusterError: not true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"gave up after {seconds:.0f} s waiting for {what}")
        time.sleep(every)


def end(process: subprocess.Popen[Any], seconds: float) -> None:
    """Ask it to end, wait for it that long, and then make it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
