"""The processes of a profiling run: who descends from whom, since when they run, and how they are ended."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

PATIENCE_SECONDS = 10.0
"""How long processes may take to end by themselves: vLLM's release their shared memory then."""
POLL_SECONDS = 0.1


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, nearest first; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(entry)
        if len(fields) > 1:
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def kill(pids: Iterable[int], signal_number: int = signal.SIGKILL) -> None:
    """Sends the signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except OSError:
            continue


def end_descendants() -> None:
    """Ends everything below this process, in order where it does not take too long, and waits until it is gone."""
    pids = descendants(os.getpid())
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        kill(pids, signal_number)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while (pids := [pid for pid in pids if _runs(pid)]) and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def age_seconds() -> float | None:
    """For how long this process has been there, over every ``exec``; None where the system does not say."""
    try:
        started = int(_stat(Path("/proc/self/stat"))[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def original_environment(*, marked_by: str) -> dict[str, str]:
    """The environment that this process was started with, which held the variable ``marked_by``; call it early.

    vLLM and its libraries write into ``os.environ``, and some that rename the process overwrite what the system shows:
    what does not hold the variable any more is not believed.
    """
    try:
        block = Path("/proc/self/environ").read_bytes().decode(errors="surrogateescape")
    except OSError:
        return dict(os.environ)
    found = dict(line.split("=", 1) for line in block.split("\0") if "=" in line)
    return found if marked_by in found else dict(os.environ)


def become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    """This process becomes another program and keeps its id. Raises OSError where that is impossible."""
    for entry in Path("/proc/self/fd").iterdir():
        # Sockets and devices that libraries have opened would otherwise stay open, and a server's port taken.
        if int(entry.name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(entry.name), False)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


def _runs(pid: int) -> bool:
    """Whether it is there and no zombie, which holds nothing any more."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return bool(fields) and fields[0] != "Z"


def _stat(path: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none for a process that is gone."""
    try:
        # The command name, in brackets, may hold anything: fields are counted from its closing bracket.
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []
