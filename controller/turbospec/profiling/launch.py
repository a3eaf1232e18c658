"""Turns a vLLM process into a profiling run: starts the runner beside it and ends with it.

The profiling container runs the serving container's own command, whatever form it has, with ``TURBOSPEC_PROFILE=1`` in
its environment. Nothing but this process knows that it is a profiling run.
"""

import hashlib
import logging
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

from turbospec.profiling import processes, variables

SECOND_START = "turbospec.profiling.second_start"

logger = logging.getLogger("vllm.turbospec.profiling")


def start() -> bool:
    """Starts the profiling run where the environment asks for it; true where it did. Never raises.

    Called by the engine plugin, which vLLM loads into every one of its processes: only the first one may start it.
    Puts the hash of a fresh control token into ``os.environ``, where the engine, started later, finds it. From now on
    this process ends when the runner does, with the runner's exit status, or with 1 where it cannot be started.
    """
    if os.environ.get(variables.PROFILE) != "1" or multiprocessing.parent_process() is not None:
        return False
    original = processes.original_environment(marked_by=variables.PROFILE)
    # vLLM also starts plain subprocesses that load plugins (its model registry does): they must find no such variable.
    del os.environ[variables.PROFILE]
    token = secrets.token_hex(32)
    os.environ["TURBOSPEC_TOKEN_SHA256"] = hashlib.sha256(token.encode()).hexdigest()
    _keep_state_apart()
    environment = {**os.environ, variables.TOKEN: token, variables.PARENT: str(os.getpid())}
    environment[variables.BEGAN] = str(time.monotonic() - (processes.age_seconds() or 0.0))
    environment.setdefault(variables.PORT, _argument(sys.argv, "--port") or "8000")
    api_key = _argument(sys.argv, "--api-key") or os.environ.get("VLLM_API_KEY")
    if api_key:
        environment[variables.API_KEY] = api_key
    threading.Thread(target=_supervise, args=(environment, original), name="turbospec-profile", daemon=True).start()
    return True


def _keep_state_apart() -> None:
    """Gives the engine an empty place for the control documents it remembers: /tmp may be shared with serving pods."""
    try:
        os.environ["TURBOSPEC_STATE_DIR"] = tempfile.mkdtemp(prefix="turbospec-profile-")
    except OSError as error:
        logger.warning("turbospec: no temporary folder (%s): control documents of other engines may be found", error)


def _supervise(environment: Mapping[str, str], original: Mapping[str, str]) -> None:
    """Runs the runner to its end and takes the whole process with it. Lives as long as the process does."""
    status = 1
    try:
        # Started from this thread on purpose: the runner dies with the thread that started it (PR_SET_PDEATHSIG).
        plain = variables.PLAIN in environment
        module = "turbospec.profiling.plain_runner" if plain else "turbospec.profiling.runner"
        status = subprocess.run([sys.executable, "-m", module], env=environment, check=False).returncode
        if status == variables.AGAIN:
            status = 0  # whatever becomes of the second start, there is a profile
            processes.become([sys.executable, "-m", SECOND_START, *sys.orig_argv[1:]], original)
        logger.info("turbospec: the profiling run ended with status %d; vLLM ends with it", status)
    except (OSError, ValueError, subprocess.SubprocessError):
        logger.exception("turbospec: a run could not be started; vLLM ends")
    finally:
        _end_process(status if 0 <= status <= 255 else 1)


def _end_process(status: int) -> None:
    """Ends this process and all it started: an orderly shutdown of vLLM could hang or turn success into failure."""
    processes.kill(processes.descendants(os.getpid()))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)


def _argument(arguments: Sequence[str], name: str) -> str | None:
    """The value of ``--name value`` or ``--name=value``; None where it is not given."""
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and position + 1 < len(arguments):
            return arguments[position + 1]
    return None
