"""The profiling run, ``python -m turbospec.profiling.runner``: ``turbospec.profiling.launch`` starts it beside vLLM."""

import logging
import os
import sys
import time

import turbospec
from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.profiling.beside_vllm import (
    CORPUS_SECONDS,
    die_with_parent,
    engine_state,
    sweep_limits,
    wait_until_healthy,
)
from turbospec.profiling.client import ControlClient, EngineError, ServingClient
from turbospec.profiling.codec import CodecError
from turbospec.profiling.evaluate import Profile, TooFewSamplesError, evaluate
from turbospec.profiling.grid import OUTPUT_TOKENS, CellPlan, SweepLimits, draft_lengths, plan_between, plan_sweep
from turbospec.profiling.load import LoadGenerator
from turbospec.profiling.measure import FULL_WIDTH, Meter
from turbospec.profiling.progress import log_to_stdout
from turbospec.profiling.prompts import grow_corpus
from turbospec.profiling.second_start import has_time
from turbospec.profiling.settings import ProfilingError, Settings, read_settings
from turbospec.profiling.sweep import Sweep
from turbospec.profiling.termination import TerminationLog, termination_log
from turbospec.profiling.variables import AGAIN
from turbospec.wire.latency import from_model
from turbospec.wire.profile_result import MAX_COVERAGE, ProfileResult

logger = logging.getLogger("turbospec.profiling")


def profile(settings: Settings, log: TerminationLog) -> ProfileResult:
    """Waits for vLLM, measures, evaluates. ProfilingError, EngineError or an error of ``evaluate`` with the reason."""
    serving = ServingClient(settings.serving_port, settings.api_key)
    control = ControlClient(settings.control_port, settings.token)
    log.expect("vLLM ended before it served; its own log says why")
    started = wait_until_healthy(serving, settings.start_seconds)
    log.expect("vLLM ended while it was being measured; its own log says why")
    state = engine_state(control)
    if state.unsupported is not None:
        raise ProfilingError(f"this engine cannot be steered: {state.unsupported.message} ({state.unsupported.code})")
    limits = sweep_limits(state.limits)
    plans = _plans(limits)
    logger.info("vLLM serves; measuring %s for at most %.0f s", state.profile_key, settings.sweep_seconds)
    model = serving.model()
    corpus = grow_corpus(
        lambda seed, tokens: serving.complete(model, seed, tokens, CORPUS_SECONDS),
        min(OUTPUT_TOKENS, state.limits.max_model_len // 2),
    )
    with LoadGenerator(settings.serving_port, settings.api_key) as load:
        meter = Meter(control, load, corpus, model, state.limits.max_num_seqs)
        ks = draft_lengths(state.limits.allowed_draft_tokens, settings.draft_tokens)
        sweep = Sweep(
            meter, plans, ks, settings.sweep_seconds, between=plan_between(limits), graph_sizes=limits.graph_sizes
        )
        sweep.run()
    found = _found(sweep)
    partly = f", drafts {found.width:.0%} full" if found.width < FULL_WIDTH else ""
    coverage = f"{sweep.coverage()}{partly}; {sweep.ended_by()}"[:MAX_COVERAGE]
    logger.info("measured: %s", coverage)
    document = from_model(found.model)
    return ProfileResult(
        identity=state.identity,
        cells=document.cells,
        fit=document.fit,
        hold_out_error_permille=min(1000, round(1000 * found.hold_out_error)),
        kv_cache_tokens=state.limits.kv_cache_tokens,
        duration_seconds=round(time.monotonic() - started),
        runtime_version=turbospec.__version__,
        coverage=coverage,
        start_seconds=None if settings.began is None else max(0, round(started - settings.began)),
    )


def main() -> int:
    """Exit status of the run: with a profile in the termination log ``AGAIN`` where there is time for a second start,
    else 0; 1 with a reason in it."""
    log_to_stdout()
    log = termination_log(os.environ)
    try:
        die_with_parent(os.environ)
        settings = read_settings(os.environ)
        result = profile(settings, log)
        log.succeed(result)
    except (
        ProfilingError,
        EngineError,
        TooFewSamplesError,
        ImpossibleFitError,
        InvalidProfileError,
        CodecError,
    ) as error:
        log.fail(str(error))
        return 1
    except Exception as error:
        # The boundary: whatever goes wrong, the reader of the Job must find out from the message.
        logger.exception("profiling failed")
        log.fail(f"unforeseen {type(error).__name__}: {error}")
        return 1
    logger.info("profile %s written in %d s", result.identity.key(), result.duration_seconds)
    return AGAIN if has_time(result, settings.plain_seconds) else 0


def _plans(limits: SweepLimits) -> tuple[CellPlan, ...]:
    plans = plan_sweep(limits)
    if not plans:
        raise ProfilingError(f"a KV cache of {limits.kv_cache_tokens} tokens holds no request worth measuring")
    return plans


def _found(sweep: Sweep) -> Profile:
    """The evaluated sweep; where it saw too little, the error also says what vLLM refused."""
    try:
        found = evaluate(sweep.records, sweep.draft_tokens, sweep.graph_sizes)
    except TooFewSamplesError as error:
        refused = f"; vLLM last refused: {sweep.last_refusal}" if sweep.last_refusal else ""
        raise ProfilingError(f"{error}{refused}") from error
    logger.info("%d latency cells, hold-out error %.1f%%", len(found.model.cells), 100 * found.hold_out_error)
    return found


if __name__ == "__main__":
    sys.exit(main())
