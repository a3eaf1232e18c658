"""vLLM's second start, without speculation: what it takes to know what speculation costs before the first draft.

The process that was vLLM becomes this module (``exec``), which frees all that vLLM held and keeps the process id that
the container lives by. It starts the same command once more, with ``variables.PLAIN`` in its environment: the plugin
then has vLLM pass over every speculative option, wherever it came from. The first result is in the termination log
already, so whatever happens here the run has succeeded.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from turbospec.profiling import variables
from turbospec.profiling.processes import end_descendants
from turbospec.profiling.progress import log_to_stdout
from turbospec.profiling.termination import termination_log
from turbospec.wire.profile_result import ProfileResult

LEAST_SECONDS = 20.0
"""What a second run takes at least once vLLM serves: its warm-up and a few cells."""
FAREWELL_SECONDS = 5.0
"""What the second runner may take beyond its time, to write its result."""

logger = logging.getLogger("turbospec.profiling")


def has_time(result: ProfileResult, plain_seconds: float) -> bool:
    """Whether a second start, as long as the first one, leaves time to measure; false where that is not known."""
    if result.start_seconds is None:
        return False
    return result.duration_seconds + result.start_seconds + LEAST_SECONDS <= plain_seconds


def main() -> int:
    """Ends what is left of the first start and runs the second until its time is over. Exit status 0 in any case."""
    log_to_stdout()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGTERM, _end)  # by default the first process of a container is deaf to it
    try:
        left = _seconds_left(os.environ)
        until = time.monotonic() + left
        end_descendants()
        logger.info("the engine starts again, without speculation: at most %.0f s left", left)
        process = subprocess.Popen([sys.executable, *sys.argv[1:]], env={**os.environ, variables.PLAIN: f"{until:.3f}"})
        status = process.wait(max(1.0, until + FAREWELL_SECONDS - time.monotonic()))
        logger.info("the second start ended with status %d", status)
    except subprocess.TimeoutExpired:
        logger.info("the second start took too long: the profile is without the plain engine")
    except (OSError, ValueError) as error:
        logger.info("there is no second start: %s", error)
    finally:
        end_descendants()
    return 0


def _seconds_left(environ: Mapping[str, str]) -> float:
    """Of the time that the first run has left. ValueError (CodecError) where its result cannot be read any more."""
    result = termination_log(environ).read()
    return float(environ.get(variables.PLAIN_SECONDS) or variables.DEFAULT_PLAIN_SECONDS) - result.duration_seconds


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
