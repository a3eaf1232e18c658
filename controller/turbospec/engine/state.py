"""The answer of GET /v1/state, put together in the thread that asks."""

import time
from dataclasses import fields

from turbospec.control.served_cells import ServedCell
from turbospec.engine.controller import DocumentController
from turbospec.engine.documents import table_rows
from turbospec.engine.runtime import EngineRuntime
from turbospec.wire.control_document import CONTROL_VERSION
from turbospec.wire.engine_state import (
    DecisionState,
    EngineCounters,
    EngineLoad,
    EngineState,
    PositionEstimate,
    PredictedGoodput,
    ProbingState,
    ServedCells,
    SteeringState,
    StepTimeRegion,
)


def engine_state(runtime: EngineRuntime, controller: DocumentController) -> EngineState:
    """A consistent enough picture: each part is read at once, the parts one after the other."""
    facts, loop = runtime.facts, runtime.loop
    return EngineState(
        control_versions=[CONTROL_VERSION],
        engine=facts.info,
        identity=facts.identity,
        profile_key=facts.identity.key(),
        limits=facts.limits,
        unsupported=runtime.unsupported(),
        steering=_steering(runtime),
        applied=controller.applied(),
        table=table_rows(runtime.table()),
        load=_load(runtime),
        acceptance=[
            PositionEstimate(acceptance=one.acceptance, draft_yield=one.draft_yield, samples=one.samples)
            for one in runtime.estimates()
        ],
        counters=_counters(runtime, controller),
        requests=runtime.requests.counters(),
        decision=_decision(runtime),
        latency_bias=loop.bias() if loop is not None else None,
        off_profile=loop.off_profile() if loop is not None else False,
        step_time_regions=_regions(runtime),
        probing=_probing(runtime),
        uptime_seconds=time.monotonic() - runtime.started,
    )


def served_cells(runtime: EngineRuntime) -> ServedCells:
    """The answer of GET /v1/cells."""
    names = [each.name for each in fields(ServedCell)]
    return ServedCells(fields=names, rows=[[getattr(cell, name) for name in names] for cell in runtime.cells()])


def _steering(runtime: EngineRuntime) -> SteeringState | None:
    steering = runtime.facts.steering
    if steering is None:
        return None
    return SteeringState(draft_length=steering.length.value, draft_cost=steering.draft_cost.value)


def _load(runtime: EngineRuntime) -> EngineLoad:
    running, waiting, usage = runtime.occupancy()
    newest = runtime.ring.newest()
    return EngineLoad(
        running=running,
        waiting=waiting,
        decodes=newest.decodes if newest is not None else 0,
        kv_tokens=newest.kv_tokens if newest is not None else 0,
        kv_cache_usage=usage,
    )


def _counters(runtime: EngineRuntime, controller: DocumentController) -> EngineCounters:
    totals = runtime.telemetry.totals
    return EngineCounters(
        steps=totals.steps,
        drafts=totals.drafts,
        draft_tokens=totals.draft_tokens,
        accepted_tokens=totals.accepted_tokens,
        generated_tokens=totals.generated_tokens,
        drafted_per_position=totals.drafted_per_position,
        accepted_per_position=totals.accepted_per_position,
        control_documents_applied=controller.applied_count,
        control_documents_refused=controller.refused_count,
        table_rebuilds=runtime.loop.rebuilds if runtime.loop is not None else 0,
    )


def _decision(runtime: EngineRuntime) -> DecisionState | None:
    decision = runtime.loop.decision() if runtime.loop is not None else None
    if decision is None or runtime.unsupported() is not None:
        return None
    return DecisionState(
        draft_tokens=decision.draft_tokens,
        reason=decision.reason,
        bounding=decision.bounding,
        predictions=[
            PredictedGoodput(draft_tokens=one.draft_tokens, tokens_per_second=one.tokens_per_second)
            for one in decision.predictions
            if one.tokens_per_second is not None
        ],
    )


def _regions(runtime: EngineRuntime) -> list[StepTimeRegion]:
    found = runtime.loop.regions() if runtime.loop is not None else ()
    return [StepTimeRegion(batch=one.batch, ratio=one.ratio, steps=one.steps, off=one.off) for one in found]


def _probing(runtime: EngineRuntime) -> ProbingState | None:
    report = runtime.probe_report()
    if report is None:
        return None
    return ProbingState(
        bursts=report.bursts,
        spent_seconds=report.spent_seconds,
        elapsed_seconds=report.elapsed_seconds,
        lost_tokens=report.lost_tokens,
    )
