"""Which engines can be steered, and how a shorter draft comes about. Every refusal is a code and a sentence."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from turbospec.engine.graphs import captured_draft_tokens, start_up_schedule
from turbospec.engine.source import installed_source
from turbospec.engine.speculators import SpeculatorFacts, SpeculatorProbe, source_probe, variant_of
from turbospec.wire.engine_state import Unsupported


class DraftCost(StrEnum):
    """How the cost of proposing drafts follows K."""

    SCALES = "scales with K"
    FIXED = "fixed"
    NONE = "none"


class DraftLength(StrEnum):
    """Who makes the drafts K long."""

    NATIVE = "native"
    """The speculator, or its model runner: K in the step is all it takes."""
    TRIMMED = "trimmed"
    """The speculator makes its maximum; the scheduler verifies the first K of them (``trimming.py``)."""


@dataclass(frozen=True, slots=True)
class Steering:
    """How K of one method on one model runner follows what we put into a step."""

    draft_cost: DraftCost
    length: DraftLength


METHODS = ("ngram", "ngram_gpu", "draft_model", "eagle", "eagle3", "mtp", "suffix", "medusa")
"""Methods whose speculators were read, in every release from 0.25; what each comes to is decided by its source."""

PARALLEL_METHODS = frozenset({"dflash", "dspark"})
"""They draft a block of trained length in one pass, whether or not ``parallel_drafting`` says so."""

MATCHING = frozenset({("ngram", "v1"), ("suffix", "v1")})
"""They match text on the host, which is nearly free: K costs nothing but its verification."""

COUNTED_IN_WORKER = frozenset({("ngram_gpu", "v1")})
"""The worker shortens the step by its own count of valid drafts, which a cut in the scheduler would not fit."""

DRAFTS_AT_ZERO = frozenset({("mtp/step3p5", "v1")})
"""Their ``propose()`` has no way out at K = 0 and makes one draft: they are asked for the maximum and trimmed."""


def model_runner(vllm_config: Any) -> str:
    """``v1`` or ``v2``; releases that do not know the property have V1 only."""
    return "v2" if getattr(vllm_config, "use_v2_model_runner", False) else "v1"


def installed_probe() -> SpeculatorProbe:
    """Facts of the vLLM that this process runs."""
    return source_probe(installed_source())


def judge(variant: str, runner: str, facts: SpeculatorFacts, *, asynchronous: bool) -> Steering | Unsupported:
    """What the source of a method's speculator makes of a changing K; no version number is asked."""
    unread = _unread(variant, runner, facts)
    if unread is not None:
        return unread
    return _judge_v2(variant, facts) if runner == "v2" else _judge_v1(variant, facts, asynchronous=asynchronous)


def _unread(variant: str, runner: str, facts: SpeculatorFacts) -> Unsupported | None:
    """Where there is nothing to judge: methods of one length, methods nobody has read, source that is not there."""
    method, _, _ = variant.partition("/")
    if method in PARALLEL_METHODS:
        return _no("ParallelDrafting", f"method {method!r} drafts a block in one pass, at a length fixed by training")
    if method == "extract_hidden_states":
        return _no("FixedLengthMethod", f"method {method!r} proposes exactly one placeholder and asserts it")
    if method not in METHODS:
        return _no("UnknownMethod", f"method {method!r} has not been read or tried with a changing K")
    if not facts.readable:
        return _no("SourceUnreadable", "vLLM's source files are not there: how its speculator takes K is not known")
    if not facts.found:
        return _no(
            "NoSpeculator",
            f"this release of vLLM has no speculator that we know for {variant!r} on model runner {runner.upper()}",
        )
    return None


def _judge_v1(variant: str, facts: SpeculatorFacts, *, asynchronous: bool) -> Steering | Unsupported:
    """V1 hands K to ``propose()``, which has to do it."""
    matching = (variant, "v1") in MATCHING
    trimmed = facts.asserts_length or (variant, "v1") in DRAFTS_AT_ZERO
    if not facts.worker_reads_length or not (trimmed or facts.reads_length):
        return _no("LengthIgnored", f"the speculator of {variant!r} is not told K, or does not use it")
    if not trimmed:
        return Steering(DraftCost.NONE if matching else DraftCost.SCALES, DraftLength.NATIVE)
    if asynchronous or (variant, "v1") in COUNTED_IN_WORKER:
        return _no(
            "FixedLengthMethod",
            f"method {variant!r} proposes num_speculative_tokens drafts whatever K is, and handles them in the worker: "
            "they do not pass the scheduler, where they could be cut",
        )
    return Steering(DraftCost.NONE if matching else DraftCost.FIXED, DraftLength.TRIMMED)


def _judge_v2(variant: str, facts: SpeculatorFacts) -> Steering | Unsupported:
    """V2 keeps drafts in the worker and verifies as many as were scheduled; from 0.32 its runner cuts them to K too."""
    if facts.asserts_length:
        return _no("FixedLengthMethod", f"method {variant!r} asserts that K is the maximum: any other ends the engine")
    if not facts.worker_reads_length:
        return Steering(DraftCost.FIXED, DraftLength.TRIMMED)
    return Steering(DraftCost.SCALES if facts.reads_length else DraftCost.FIXED, DraftLength.NATIVE)


def steering_of(vllm_config: Any, runner: str, probe: SpeculatorProbe) -> Steering | Unsupported:
    """``judge`` of an engine's method and scheduling."""
    variant = variant_of(vllm_config.speculative_config, runner)
    asynchronous = bool(getattr(vllm_config.scheduler_config, "async_scheduling", False))
    return judge(variant, runner, probe(variant, runner), asynchronous=asynchronous)


def unsupported_reason(
    vllm_config: Any, runner: str, *, on_cpu: bool, probe: SpeculatorProbe | None = None
) -> Unsupported | None:
    """Why K of this engine cannot be steered; None where it can. Never raises on a configuration vLLM accepted.

    Not reasons: structured outputs (a grammar shortens drafts request by request, below whatever K is) and LoRA
    (adapters change the step time, which is why they are part of the profile's identity, not the draft length).
    """
    speculative = vllm_config.speculative_config
    if speculative is None or not speculative.num_speculative_tokens:
        return _no(
            "NoSpeculation", "the engine was started without --speculative-config: there is no draft length to choose"
        )
    for check in (_parallelism, _drafting, _transfer):
        reason = check(vllm_config)
        if reason is not None:
            return reason
    steering = steering_of(vllm_config, runner, probe or installed_probe())
    if isinstance(steering, Unsupported):
        return steering
    return None if on_cpu else _graphs(vllm_config, runner, steering)


def _parallelism(vllm_config: Any) -> Unsupported | None:
    parallel = vllm_config.parallel_config
    if int(parallel.data_parallel_size) > 1:
        return _no(
            "DataParallel",
            "data_parallel_size is above 1: ranks with different draft lengths would wait for each other",
        )
    if int(parallel.pipeline_parallel_size) > 1:
        return _no("PipelineParallel", "pipeline_parallel_size is above 1: its step times have not been measured")
    return None


def _drafting(vllm_config: Any) -> Unsupported | None:
    speculative = vllm_config.speculative_config
    if getattr(speculative, "enable_adaptive_verification", False):
        return _no("AdaptiveVerification", "enable_adaptive_verification already chooses how many drafts are verified")
    if getattr(speculative, "parallel_drafting", False):
        return _no(
            "ParallelDrafting", "parallel_drafting proposes all drafts in one pass, at a length fixed by the drafter"
        )
    return None


def _transfer(vllm_config: Any) -> Unsupported | None:
    transfer = getattr(vllm_config, "kv_transfer_config", None)
    if transfer is not None and getattr(transfer, "kv_connector", "set") is not None:
        return _no(
            "DisaggregatedServing",
            "the engine transfers KV cache (kv_transfer_config): not measured yet with a changing K",
        )
    return None


def _graphs(vllm_config: Any, runner: str, steering: Steering) -> Unsupported | None:
    """A GPU needs graphs for more than one width."""
    if start_up_schedule(vllm_config):
        return None
    # A speculator of V1 that asserts its length must have no table: vLLM would put a shorter K into a step and assert.
    if steering.length is DraftLength.TRIMMED and runner == "v1":
        if len(captured_draft_tokens(vllm_config, runner)) > 1:
            return None
        return _no(
            "OneLengthCaptured",
            "the engine captured graphs of one draft length only: start it with cudagraph_mode FULL_AND_PIECEWISE or "
            "PIECEWISE in --compilation-config",
        )
    return _no(
        "NoStartupTable",
        "the engine captured graphs for one draft length only: start it with num_speculative_tokens_per_batch_size "
        "in --speculative-config, naming every K that may be used",
    )


def _no(code: str, message: str) -> Unsupported:
    return Unsupported(code=code, message=message)
