"""What both runs of a profiling Job do beside the vLLM that started them: wait for it, ask it, and end with it."""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping

from turbospec.profiling import variables
from turbospec.profiling.client import ControlClient, EngineError, ServingClient
from turbospec.profiling.grid import DEFAULT_KV_BLOCK_TOKENS, SweepLimits
from turbospec.profiling.settings import ProfilingError
from turbospec.wire.engine_state import EngineLimits, EngineState

logger = logging.getLogger("turbospec.profiling")

CORPUS_SECONDS = 300.0
"""Limit for one warm-up completion: the first request of a process compiles and loads what later ones find ready."""
CONTROL_SECONDS = 30.0
"""How long after /health the control server may take: it starts with the engine, before vLLM serves."""
POLL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1


def wait_until_healthy(serving: ServingClient, seconds: float) -> float:
    """When vLLM served, by the monotonic clock. ProfilingError where it does not within so many seconds."""
    started = time.monotonic()
    told = started
    while not serving.healthy():
        now = time.monotonic()
        if now - started > seconds:
            raise ProfilingError(f"vLLM did not answer /health on port {serving.port} within {seconds:.0f} s")
        if now - told >= 15:
            told = now
            logger.info("waiting for vLLM to serve, %.0f s so far", now - started)
        time.sleep(POLL_SECONDS)
    return time.monotonic()


def engine_state(control: ControlClient) -> EngineState:
    """The engine's state, once its control server answers."""
    give_up = time.monotonic() + CONTROL_SECONDS
    while True:
        try:
            return control.state()
        except EngineError as error:
            if time.monotonic() > give_up:
                raise ProfilingError(f"TurboSpec's runtime does not answer in the engine: {error}") from error
        time.sleep(POLL_SECONDS)


def sweep_limits(limits: EngineLimits) -> SweepLimits:
    """What a plan needs to know of the engine."""
    return SweepLimits(
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        max_model_len=limits.max_model_len,
        kv_cache_tokens=limits.kv_cache_tokens,
        allowed_draft_tokens=tuple(limits.allowed_draft_tokens),
        graph_sizes=tuple(limits.graph_sizes),
        kv_block_tokens=limits.kv_block_tokens or DEFAULT_KV_BLOCK_TOKENS,
    )


def die_with_parent(environ: Mapping[str, str]) -> None:
    """Has Linux end this process together with the vLLM process that started it."""
    parent = environ.get(variables.PARENT)
    if not sys.platform.startswith("linux") or parent is None:
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError) as error:
        logger.warning("this process may outlive vLLM: %s", error)
        return
    if str(os.getppid()) != parent:
        raise ProfilingError("vLLM ended before profiling began; its own log says why")
