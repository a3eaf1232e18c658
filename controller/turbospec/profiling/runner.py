"""The profiling run, ``python -m turbospec.profiling.runner``: ``turbospec.profiling.launch`` starts it beside vLLM."""

import ctypes
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import turbospec
from turbospec.control.latency import ImpossibleFitError, InvalidProfileError
from turbospec.profiling.client import ControlClient, EngineError, ServingClient
from turbospec.profiling.codec import CodecError
from turbospec.profiling.evaluate import Profile, TooFewSamplesError, evaluate
from turbospec.profiling.grid import (
    DEFAULT_KV_BLOCK_TOKENS,
    OUTPUT_TOKENS,
    CellPlan,
    SweepLimits,
    draft_lengths,
    plan_between,
    plan_sweep,
)
from turbospec.profiling.launch import API_KEY_VARIABLE, PARENT_VARIABLE, PORT_VARIABLE
from turbospec.profiling.load import LoadGenerator
from turbospec.profiling.measure import Meter
from turbospec.profiling.prompts import grow_corpus
from turbospec.profiling.sweep import Sweep
from turbospec.profiling.termination import TerminationLog
from turbospec.wire.engine_state import EngineLimits, EngineState
from turbospec.wire.latency import from_model
from turbospec.wire.profile_result import ProfileResult

logger = logging.getLogger("turbospec.profiling")

CORPUS_SECONDS = 120.0
"""Limit for one warm-up completion: the first request of a process compiles and loads what later ones find ready."""
CONTROL_SECONDS = 30.0
"""How long after /health the control server may take: it starts with the engine, before vLLM serves."""
POLL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
DRAFT_TOKENS_VARIABLE = "TURBOSPEC_PROFILE_DRAFT_TOKENS"


class ProfilingError(Exception):
    """There can be no profile; the message is the reason that the operator shows."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the container's environment says. ``draft_tokens``: K to measure, empty for all."""

    serving_port: int
    control_port: int
    token: str
    api_key: str | None
    start_seconds: float
    sweep_seconds: float
    draft_tokens: tuple[int, ...]
    termination_log: Path


def read_settings(environ: Mapping[str, str]) -> Settings:
    """ProfilingError, naming the variable, for a value that cannot be used."""
    token = environ.get("TURBOSPEC_TOKEN")
    if not token:
        raise ProfilingError("TURBOSPEC_TOKEN is not set: the runner is started by the engine plugin, not by hand")
    return Settings(
        serving_port=int(_number(environ, PORT_VARIABLE, 8000, 1, 65535)),
        control_port=int(_number(environ, "TURBOSPEC_CONTROL_PORT", 9476, 1, 65535)),
        token=token,
        api_key=environ.get(API_KEY_VARIABLE) or None,
        start_seconds=_number(environ, "TURBOSPEC_PROFILE_START_SECONDS", 1800, 1, 86400),
        sweep_seconds=_number(environ, "TURBOSPEC_PROFILE_SECONDS", 240, 1, 86400),
        draft_tokens=_draft_tokens(environ.get(DRAFT_TOKENS_VARIABLE, "")),
        termination_log=_termination_log(environ),
    )


def profile(settings: Settings, log: TerminationLog) -> ProfileResult:
    """Waits for vLLM, measures, evaluates. ProfilingError, EngineError or an error of ``evaluate`` with the reason."""
    serving = ServingClient(settings.serving_port, settings.api_key)
    control = ControlClient(settings.control_port, settings.token)
    log.expect("vLLM ended before it served; its own log says why")
    _wait_until_healthy(serving, settings.start_seconds)
    started = time.monotonic()
    log.expect("vLLM ended while it was being measured; its own log says why")
    state = _state(control)
    if state.unsupported is not None:
        raise ProfilingError(f"this engine cannot be steered: {state.unsupported.message} ({state.unsupported.code})")
    limits = _limits(state.limits)
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
    coverage = f"{sweep.coverage()}; {sweep.ended_by()}"
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
    )


def main() -> int:
    """Exit status of the run: 0 with a profile in the termination log, 1 with a reason in it."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s turbospec: %(message)s")
    log = TerminationLog(_termination_log(os.environ))
    try:
        _die_with_parent(os.environ.get(PARENT_VARIABLE))
        result = profile(read_settings(os.environ), log)
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
    return 0


def _limits(limits: EngineLimits) -> SweepLimits:
    return SweepLimits(
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        max_model_len=limits.max_model_len,
        kv_cache_tokens=limits.kv_cache_tokens,
        allowed_draft_tokens=tuple(limits.allowed_draft_tokens),
        graph_sizes=tuple(limits.graph_sizes),
        kv_block_tokens=limits.kv_block_tokens or DEFAULT_KV_BLOCK_TOKENS,
    )


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


def _wait_until_healthy(serving: ServingClient, seconds: float) -> None:
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


def _state(control: ControlClient) -> EngineState:
    """The engine's state, once its control server answers."""
    give_up = time.monotonic() + CONTROL_SECONDS
    while True:
        try:
            return control.state()
        except EngineError as error:
            if time.monotonic() > give_up:
                raise ProfilingError(f"TurboSpec's runtime does not answer in the engine: {error}") from error
        time.sleep(POLL_SECONDS)


def _die_with_parent(parent: str | None) -> None:
    """Has Linux end this process together with the vLLM process that started it."""
    if not sys.platform.startswith("linux") or parent is None:
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError) as error:
        logger.warning("this process may outlive vLLM: %s", error)
        return
    if str(os.getppid()) != parent:
        raise ProfilingError("vLLM ended before profiling began; its own log says why")


def _termination_log(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("TURBOSPEC_TERMINATION_LOG") or "/dev/termination-log")


def _draft_tokens(text: str) -> tuple[int, ...]:
    """K that the cluster's policies use, separated by commas; none named means all."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ProfilingError(
            f"{DRAFT_TOKENS_VARIABLE} is {text[:40]!r}, expected numbers separated by commas"
        ) from error


def _number(environ: Mapping[str, str], name: str, default: float, lowest: float, highest: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise ProfilingError(f"{name} is {text[:40]!r}, expected a number from {lowest:g} to {highest:g}")
    return value


if __name__ == "__main__":
    sys.exit(main())
