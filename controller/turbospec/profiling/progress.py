"""How a profiling run says how far it is: the lines that it logs, and how they are read back from the pod's log."""

import logging
import re
import sys
from typing import NamedTuple

LINE_FORMAT = "%(asctime)s turbospec: %(message)s"
_LINE = re.compile(r" turbospec: +(.*\S)")
_PROGRESS = re.compile(r"(\d+)% .*\bat most (\d+) s left")


class Said(NamedTuple):
    """A line of the run. ``percent`` and ``seconds_left`` are None where it does not say them."""

    message: str
    percent: int | None
    seconds_left: int | None


def log_to_stdout() -> None:
    """Lines as ``last_said`` finds them, among those of vLLM in the same log."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=LINE_FORMAT)


def progress(doing: str, elapsed: float, seconds: float, remark: str = "") -> str:
    """The line of a run that has been going for ``elapsed`` of at most ``seconds`` seconds."""
    percent = min(99, int(100 * elapsed / seconds))
    more = f"; {remark}" if remark else ""
    return f"{percent:3d}% {doing}, at most {max(0.0, seconds - elapsed):.0f} s left{more}"


def last_said(log: str) -> Said:
    """The run's last line in a log; empty where there is none."""
    for line in reversed(log.splitlines()):
        found = _LINE.search(line)
        if found:
            far = _PROGRESS.match(found[1])
            return Said(found[1], *((int(far[1]), int(far[2])) if far else (None, None)))
    return Said("", None, None)
