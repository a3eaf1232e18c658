"""Puts the runtime of one scheduler together: facts from vLLM's configuration, control server, housekeeping."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from turbospec.control.capture import size_that_captures
from turbospec.engine.control_server import ControlApi, ControlServer
from turbospec.engine.controller import DocumentController
from turbospec.engine.documents import DocumentStore
from turbospec.engine.environment import EngineEnvironment, logger, read_environment
from turbospec.engine.graphs import captured_draft_tokens, captured_sizes, eager_above
from turbospec.engine.hardware import usable_cpus_at_load
from turbospec.engine.identity import engine_identity
from turbospec.engine.learnt import LearntStore
from turbospec.engine.methods import Steering, installed_probe, model_runner, steering_of, unsupported_reason
from turbospec.engine.metrics import metrics_registry, metrics_text
from turbospec.engine.runtime import EngineFacts, EngineRuntime
from turbospec.engine.speculators import SpeculatorProbe
from turbospec.engine.state import engine_state, served_cells
from turbospec.wire.engine_state import EngineInfo, EngineLimits, Unsupported

HOUSEKEEPING_SECONDS = 1.0
"""How soon the kill switch and the end of an overlay are noticed."""

FAREWELL_SECONDS = 2.0
"""How long an engine that shuts down waits for what was learnt to be written; a disk may hang."""


@dataclass(frozen=True, slots=True)
class AttachedRuntime:
    """A running runtime; ``detach`` ends its threads."""

    runtime: EngineRuntime
    controller: DocumentController
    server: ControlServer
    stop: threading.Event
    housekeeper: threading.Thread

    def detach(self) -> None:
        """The engine shuts down. What was learnt is written by the housekeeping thread, which is waited for briefly."""
        self.stop.set()
        self.server.close()
        self.housekeeper.join(FAREWELL_SECONDS)


def attach(scheduler: Any) -> AttachedRuntime:
    """Builds and starts everything for a scheduler that vLLM has just made. May raise: the caller is the boundary."""
    import vllm
    from vllm.platforms import current_platform

    environment = read_environment(os.environ)
    facts = engine_facts(scheduler, platform=current_platform, vllm_version=str(vllm.__version__))
    return attach_with(scheduler, facts, environment)


def attach_with(scheduler: Any, facts: EngineFacts, environment: EngineEnvironment) -> AttachedRuntime:
    """``attach`` with facts that need no vLLM."""
    runtime = EngineRuntime(scheduler, facts)
    runtime.killed = environment.kill_file.exists()
    kept = f"turbospec-{facts.identity.key()}-{facts.info.data_parallel_rank}"
    controller = DocumentController(
        runtime.loop_limits,
        apply=runtime.configure,
        next_step=lambda: runtime.next_seq,
        unsupported=runtime.unsupported,
        clock=time.monotonic,
        store=DocumentStore(environment.state_dir / f"{kept}.json"),
    )
    learnt = LearntStore(environment.state_dir / f"{kept}-learnt.json", runtime, document_id=controller.document_id)
    if facts.unsupported is None:
        if scheduler.dynamic_sd_lookup is None:
            # None makes vLLM pad first decodes to the maximum width: that holds only while K never changes.
            scheduler.dynamic_sd_lookup = list(facts.startup_table)
        controller.resume()
        learnt.restore()
    server = _control_server(runtime, controller, environment)
    stop = threading.Event()
    chores = (
        lambda: _look_at_kill_file(runtime, environment.kill_file),
        controller.tick,
        server.cut_off_slow_clients,
        learnt.save_if_due,
    )
    housekeeper = threading.Thread(
        target=_keep_house, args=(chores, learnt.save, stop), name="turbospec-housekeeping", daemon=True
    )
    housekeeper.start()
    _announce(facts, server)
    return AttachedRuntime(runtime, controller, server, stop, housekeeper)


def engine_facts(
    scheduler: Any, *, platform: Any, vllm_version: str, probe: SpeculatorProbe | None = None
) -> EngineFacts:
    """Everything that start-up fixed, from the scheduler that vLLM has just made. ``probe``: the installed vLLM's."""
    config = scheduler.vllm_config
    runner, on_cpu = model_runner(config), bool(platform.is_cpu())
    unsupported = _missing_seam(scheduler) or unsupported_reason(config, runner, on_cpu=on_cpu, probe=probe)
    steering = steering_of(config, runner, probe or installed_probe()) if unsupported is None else None
    max_num_seqs = int(scheduler.max_num_running_reqs)
    max_draft_tokens = int(scheduler.num_spec_tokens) if config.speculative_config is not None else 0
    lookup = getattr(scheduler, "dynamic_sd_lookup", None)
    return EngineFacts(
        info=EngineInfo(
            id=uuid.uuid4().hex,
            vllm_version=vllm_version,
            runtime_version=runtime_version(),
            data_parallel_rank=int(getattr(config.parallel_config, "data_parallel_rank", 0) or 0),
        ),
        identity=engine_identity(
            config, runner=runner, vllm_version=vllm_version, platform=platform, cpus=usable_cpus_at_load()
        ),
        limits=EngineLimits(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=int(config.scheduler_config.max_num_batched_tokens),
            max_model_len=int(config.model_config.max_model_len),
            max_draft_tokens=max_draft_tokens,
            allowed_draft_tokens=list(captured_draft_tokens(config, runner)) if max_draft_tokens else [0],
            kv_cache_tokens=int(scheduler.cache_config.num_gpu_blocks or 0) * int(scheduler.block_size),
            graph_sizes=list(captured_sizes(config)),
            kv_block_tokens=int(scheduler.block_size),
        ),
        unsupported=unsupported,
        startup_table=_startup_table(lookup, max_num_seqs, max_draft_tokens),
        drafts_after_completion=runner == "v2" and bool(getattr(config.scheduler_config, "async_scheduling", False)),
        steering=steering if isinstance(steering, Steering) else None,
    )


def runtime_version() -> str:
    """The version of this distribution; it may travel as a zip that carries its metadata."""
    try:
        return metadata.version("turbospec")
    except metadata.PackageNotFoundError:
        return "unknown"


def _startup_table(lookup: Any, max_num_seqs: int, max_draft_tokens: int) -> tuple[int, ...]:
    """K by batch as vLLM started, index 0 unused."""
    if not lookup:
        return (0, *[max_draft_tokens] * max_num_seqs)
    dense = [int(k) for k in lookup][: max_num_seqs + 1]
    return tuple(dense + [dense[-1]] * (max_num_seqs + 1 - len(dense)))


def _missing_seam(scheduler: Any) -> Unsupported | None:
    """Where this release of vLLM does not have what we hold on to."""
    if scheduler.vllm_config.speculative_config is not None and not hasattr(scheduler, "dynamic_sd_lookup"):
        return Unsupported(
            code="ReleaseTooOld",
            message="this release of vLLM fixes the draft length at start-up (no Scheduler.dynamic_sd_lookup)",
        )
    return None


def _control_server(
    runtime: EngineRuntime, controller: DocumentController, environment: EngineEnvironment
) -> ControlServer:
    registry = metrics_registry(runtime, controller)
    api = ControlApi(
        state=lambda: engine_state(runtime, controller),
        put=controller.put,
        refused=controller.refused,
        steps=runtime.ring.page,
        cells=lambda: served_cells(runtime),
        metrics=lambda: metrics_text(registry),
    )
    return ControlServer(
        api, host=environment.control_host, port=environment.control_port, token_sha256=environment.token_sha256
    )


def _keep_house(chores: Sequence[Callable[[], None]], farewell: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(HOUSEKEEPING_SECONDS):
        for chore in chores:
            _undisturbed(chore)
    _undisturbed(farewell)


def _undisturbed(chore: Callable[[], None]) -> None:
    try:
        chore()
    except Exception:  # noqa: BLE001 - a thread in somebody else's engine: the next round tries again
        logger.warning("housekeeping failed", exc_info=True)


def _look_at_kill_file(runtime: EngineRuntime, kill_file: Path) -> None:
    killed = kill_file.exists()
    if killed != runtime.killed:
        logger.warning("kill switch %s is %s", kill_file, "on: the start-up table decides" if killed else "off")
        runtime.killed = killed


def _announce(facts: EngineFacts, server: ControlServer) -> None:
    if facts.unsupported is not None:
        logger.info(
            "TurboSpec %s on port %d does not steer this engine: %s (%s)",
            facts.info.runtime_version, server.port, facts.unsupported.code, facts.unsupported.message,
        )  # fmt: skip
        return
    logger.info(
        "TurboSpec %s on port %d: K from %s, profile key %s",
        facts.info.runtime_version, server.port, facts.limits.allowed_draft_tokens, facts.identity.key(),
    )  # fmt: skip
    _announce_eager(facts.limits)


def _announce_eager(limits: EngineLimits) -> None:
    """Says which steps have no graph and what would give them one: it takes memory that only the engine's owner can
    spare, so nobody else sets it."""
    eager = eager_above(limits.allowed_draft_tokens, limits.graph_sizes, limits.max_num_seqs)
    if eager:
        logger.info(
            "the largest CUDA graph holds %d tokens, so steps run eagerly at %s; "
            "--max-cudagraph-capture-size=%d captures more, for memory and time at start-up",
            max(limits.graph_sizes),
            ", ".join(f"K = {k} above {batch} requests" for k, batch in sorted(eager.items(), reverse=True)),
            size_that_captures(limits.max_num_seqs, max(eager), limits.max_num_batched_tokens),
        )
