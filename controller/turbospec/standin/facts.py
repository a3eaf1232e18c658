"""What a stand-in engine says of itself, from its ENGINE.yaml."""

import hashlib
import uuid

import turbospec
from turbospec.engine.methods import DraftCost, DraftLength, Steering
from turbospec.engine.runtime import EngineFacts
from turbospec.simulation.controllers import startup_table
from turbospec.simulation.files import EngineFile
from turbospec.standin.options import StandInOptions
from turbospec.wire.engine_state import EngineInfo, EngineLimits, Unsupported
from turbospec.wire.identity import ProfileIdentity

ENGINE_VERSION = f"stand-in {turbospec.__version__}"
"""In place of vLLM's version: nobody must take it, or a profile measured on it, for the real one."""


def stand_in_facts(spec: EngineFile, options: StandInOptions) -> EngineFacts:
    """Facts of one more engine. Engines of equal files and options share their profile key, and nothing else does."""
    unsupported, allowed = None, spec.allowed
    if _is_plain(spec, options):
        unsupported, allowed = Unsupported(code="NoSpeculation", message=_why_plain(options)), (0,)
    return EngineFacts(
        info=EngineInfo(
            id=uuid.uuid4().hex,
            vllm_version=ENGINE_VERSION,
            runtime_version=turbospec.__version__,
            data_parallel_rank=0,
        ),
        identity=_identity(spec, options),
        limits=EngineLimits(
            max_num_seqs=spec.max_num_seqs,
            max_num_batched_tokens=spec.max_num_batched_tokens,
            max_model_len=spec.max_model_len,
            max_draft_tokens=0 if unsupported is not None else spec.max_draft_tokens,
            allowed_draft_tokens=list(allowed),
            kv_cache_tokens=_kv_cache_tokens(spec, options),
            graph_sizes=list(spec.graph.padded_to) if spec.graph else [],
            kv_block_tokens=1,
        ),
        unsupported=unsupported,
        startup_table=startup_table(allowed, spec.max_num_seqs),
        drafts_after_completion=options.drafts_after_completion,
        steering=None if unsupported is not None else Steering(_draft_cost(spec), DraftLength.NATIVE),
    )


def _is_plain(spec: EngineFile, options: StandInOptions) -> bool:
    return options.plain or spec.allowed == (0,)


def _why_plain(options: StandInOptions) -> str:
    if options.plain:
        return "the stand-in was started without --speculative-config: there is no draft length to choose"
    return "allowedDraftTokens holds 0 only: nothing to choose"


def _kv_cache_tokens(spec: EngineFile, options: StandInOptions) -> int:
    own = spec.plain.kv_cache_tokens if options.plain and spec.plain is not None else None
    return own or spec.kv_cache_tokens


def _draft_cost(spec: EngineFile) -> DraftCost:
    return DraftCost.FIXED if spec.draft_always else DraftCost.SCALES


def _identity(spec: EngineFile, options: StandInOptions) -> ProfileIdentity:
    # Noise and drift are how an engine deviates from itself: they do not make it another one.
    timing = spec.model_dump_json(include={"step_time", "prefill_tokens_per_second", "graph", "draft_always"})
    plain = _is_plain(spec, options)  # vLLM names neither drafter nor method where it was started without one
    return ProfileIdentity(
        hardware=options.hardware,
        target=options.model,
        drafter="none" if plain else f"{options.model}-drafter",
        method="none" if plain else options.method,
        engine_arguments={
            "model_runner": options.runner,
            "async_scheduling": str(options.drafts_after_completion).lower(),
            "max_num_batched_tokens": str(spec.max_num_batched_tokens),
            "max_draft_tokens": "0" if plain else str(spec.max_draft_tokens),
            "step_time": hashlib.sha256(timing.encode()).hexdigest()[:16],
        },
        engine_version=ENGINE_VERSION,
    )
