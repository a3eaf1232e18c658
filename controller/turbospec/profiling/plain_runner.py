"""The second run of a profiling Job, beside vLLM without speculation: adds what it measures to the first one's result.

``python -m turbospec.profiling.plain_runner``, started by ``turbospec.profiling.launch``. Whatever goes wrong here, the
first result stays in the termination log as it is.
"""

import logging
import os
import sys
import time

from turbospec.profiling import variables
from turbospec.profiling.beside_vllm import (
    CORPUS_SECONDS,
    die_with_parent,
    engine_state,
    sweep_limits,
    wait_until_healthy,
)
from turbospec.profiling.client import EngineError, ServingClient
from turbospec.profiling.codec import CodecError
from turbospec.profiling.grid import OUTPUT_TOKENS, plan_sweep
from turbospec.profiling.load import LoadGenerator
from turbospec.profiling.measure import Meter
from turbospec.profiling.plain import PlainControl, PlainSweep
from turbospec.profiling.progress import log_to_stdout
from turbospec.profiling.prompts import grow_corpus
from turbospec.profiling.settings import ProfilingError, Settings, read_settings
from turbospec.profiling.termination import termination_log
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.plain_engine import PlainEngine
from turbospec.wire.profile_result import ProfileResult

logger = logging.getLogger("turbospec.profiling")

CORPUS_TOKENS = OUTPUT_TOKENS // 4
"""Of each continuation: without drafts the text need not repeat for long, and the time is short."""
MOST_SECONDS = 60.0
"""For the sweep: one visit to each cell that is worth its time."""


def measure(settings: Settings, first: ProfileResult, until: float) -> PlainEngine:
    """Waits for vLLM and measures it. ProfilingError or EngineError with the reason where nothing was found out."""
    serving = ServingClient(settings.serving_port, settings.api_key)
    control = PlainControl(settings.control_port, settings.token)
    started = wait_until_healthy(serving, max(1.0, until - time.monotonic()))
    state = engine_state(control)
    if state.limits.max_draft_tokens:
        raise ProfilingError("this vLLM speculates all the same")
    model = serving.model()
    corpus = grow_corpus(
        lambda seed, tokens: serving.complete(model, seed, tokens, CORPUS_SECONDS),
        min(CORPUS_TOKENS, state.limits.max_model_len // 2),
    )
    with LoadGenerator(settings.serving_port, settings.api_key) as load:
        meter = Meter(control, load, corpus, model, state.limits.max_num_seqs)
        seconds = min(MOST_SECONDS, until - time.monotonic())
        known = to_model(LatencyDocument(cells=first.cells, fit=first.fit))
        cells = PlainSweep(meter, plan_sweep(sweep_limits(state.limits)), known, seconds).run()
    if not cells:
        raise ProfilingError("no cell was measured in the time that was left")
    return PlainEngine(
        cells=cells,
        kv_cache_tokens=state.limits.kv_cache_tokens,
        start_seconds=max(0, round(started - (settings.began or started))),
    )


def main() -> int:
    """Exit status: 0 with the plain engine in the result, 1 where it is as it was."""
    log_to_stdout()
    try:
        die_with_parent(os.environ)
        settings = read_settings(os.environ)
        log = termination_log(os.environ)
        first = log.read()
        plain = measure(settings, first, float(os.environ[variables.PLAIN]))
        log.succeed(first.model_copy(update={"plain": plain}))
    except (ProfilingError, EngineError, CodecError, OSError) as error:
        logger.info("the profile is without the plain engine: %s", error)
        return 1
    logger.info("the engine without speculation was measured in %d cells", len(plain.cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
