"""What engines say of themselves as the fleet snapshot has it. Pure; what is out of bounds is cut or left out."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from turbospec.control.draft_length import Reason
from turbospec.control.region_fit import RegionFit
from turbospec.control.served_cells import ServedCell
from turbospec.fleet.demand import RequestCounts
from turbospec.fleet.effects import DecisionReport, TableRange
from turbospec.fleet.snapshot import (
    EngineIdentity,
    EngineReport,
    PositionCounts,
)
from turbospec.wire.control_document import TableRow
from turbospec.wire.engine_state import DecisionState, EngineState, RequestCounters, ServedCells
from turbospec.wire.identity import ProfileIdentity
from turbospec_operator.hardware_labels import refined

Raw = Mapping[str, Any]

_BY_PREDICTION = frozenset({Reason.HIGHEST_GOODPUT, Reason.HYSTERESIS, Reason.NO_PROFILE, Reason.UNATTAINABLE})

MAX_DRAFT_TOKENS = 64
"""The largest K that documents can hold."""

MAX_WORD = 64


def engine_report(state: EngineState, pod: Raw | None = None, node: Raw | None = None) -> EngineReport:
    """The engine's answer in the fleet's terms; the labels of its node may say more of its hardware than it knows."""
    identity = state.identity if pod is None else refined(state.identity, node, pod)
    return EngineReport(
        engine_id=state.engine.id,
        profile_key=state.profile_key if identity is state.identity else identity.key(),
        max_num_seqs=state.limits.max_num_seqs,
        engine_draft_tokens=tuple(sorted(set(state.limits.allowed_draft_tokens))),
        applied_id=state.applied.id if state.applied else None,
        applied_epoch=state.applied.epoch if state.applied else None,
        draft_tokens=_draft_tokens(state.table, state.load.decodes),
        running=state.load.running,
        waiting=state.load.waiting,
        kv_tokens=state.load.kv_tokens,
        decodes=state.load.decodes,
        drafts=state.counters.drafts,
        counts=PositionCounts(
            drafted=tuple(state.counters.drafted_per_position), accepted=tuple(state.counters.accepted_per_position)
        ),
        acceptance=tuple(each.acceptance for each in state.acceptance),
        acceptance_samples=tuple(each.samples for each in state.acceptance),
        unsupported_code=state.unsupported.code if state.unsupported else None,
        unsupported_message=state.unsupported.message if state.unsupported else "",
        applied_overlay=state.applied.overlay if state.applied else False,
        draft_yield=tuple(each.draft_yield for each in state.acceptance),
        unattainable=_unattainable(state.decision),
        decision=_decision(state.decision),
        regions=tuple(RegionFit(one.batch, one.ratio, one.steps, one.off) for one in state.step_time_regions),
        identity=engine_identity(identity),
        table=tuple(TableRange(row.from_batch, row.to_batch, row.draft_tokens) for row in state.table),
        requests=_requests(state.requests),
        max_num_batched_tokens=state.limits.max_num_batched_tokens,
        kv_cache_tokens=state.limits.kv_cache_tokens,
        graph_sizes=tuple(state.limits.graph_sizes),
        steps=state.counters.steps,
        generated_tokens=state.counters.generated_tokens,
    )


def _decision(decision: DecisionState | None) -> DecisionReport | None:
    if decision is None:
        return None
    return DecisionReport(
        draft_tokens=decision.draft_tokens,
        reason=decision.reason[:MAX_WORD],
        bounding=None if decision.bounding is None else decision.bounding[:MAX_WORD],
        predictions=tuple((each.draft_tokens, round(each.tokens_per_second)) for each in decision.predictions),
    )


def engine_identity(identity: ProfileIdentity) -> EngineIdentity:
    """The identity as the fleet compares it."""
    return EngineIdentity(
        hardware=identity.hardware,
        target=identity.target,
        drafter=identity.drafter,
        method=identity.method,
        engine_arguments=tuple(sorted(identity.engine_arguments.items())),
        engine_version=identity.engine_version,
    )


def _requests(counters: RequestCounters | None) -> RequestCounts | None:
    return None if counters is None else RequestCounts(**counters.model_dump())


def _unattainable(decision: DecisionState | None) -> bool | None:
    """Whether the engine loop found no K that meets its objective; only where it went by predictions can it tell."""
    if decision is None or decision.reason not in _BY_PREDICTION:
        return None
    return decision.reason == Reason.UNATTAINABLE


def _draft_tokens(table: Sequence[TableRow], decodes: int) -> int | None:
    """K of the last step with work: what the table in force says of its batch."""
    batch = max(1, decodes)
    return next((row.draft_tokens for row in table if row.from_batch <= batch <= row.to_batch), None)


def served_cells(answer: ServedCells) -> tuple[ServedCell, ...]:
    """The engine's cells in the fleet's terms; fields of newer runtimes are left out, impossible rows too.

    Raises ValueError where a field is missing.
    """
    wanted = [answer.fields.index(each.name) for each in fields(ServedCell)]
    found = []
    for row in answer.rows:
        if len(row) != len(answer.fields):
            raise ValueError(f"a row of {len(row)} values for {len(answer.fields)} fields")
        batch, context, k, drafted, seconds_, samples, eager = (row[i] for i in wanted)
        if batch >= 1 and context >= 0 and 0 <= drafted <= k <= MAX_DRAFT_TOKENS and seconds_ > 0 and samples >= 1:
            found.append(ServedCell(batch, context, int(k), drafted, seconds_, int(samples), bool(eager)))
    return tuple(found)
