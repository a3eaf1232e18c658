"""Raw Kubernetes objects and engine states as the fleet snapshot's views. Pure; bad content becomes a reason."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from pydantic import ValidationError

from turbospec.control.draft_length import Reason
from turbospec.control.latency import InvalidProfileError
from turbospec.control.region_fit import RegionFit
from turbospec.control.served_cells import ServedCell
from turbospec.fleet.demand import RequestCounts
from turbospec.fleet.effects import ConditionValue, DecisionReport, StoppedTemplate, TableRange
from turbospec.fleet.profiles import SERVED_DOUBT
from turbospec.fleet.snapshot import (
    EngineIdentity,
    EngineLoopMode,
    EngineReport,
    Mode,
    PodView,
    PolicyView,
    PositionCounts,
    ProfileSource,
    ProfileView,
    ProfilingCapacity,
)
from turbospec.wire.control_document import TableRow
from turbospec.wire.duration import duration_seconds
from turbospec.wire.engine_state import DecisionState, EngineState, RequestCounters, ServedCells
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.objective import to_objective
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec.wire.speculation_profile import SpeculationProfileSpec
from turbospec_operator import names
from turbospec_operator.hardware_labels import refined
from turbospec_operator.pod_failures import failed_start
from turbospec_operator.wording import one_line

Raw = Mapping[str, Any]

_BY_PREDICTION = frozenset({Reason.HIGHEST_GOODPUT, Reason.HYSTERESIS, Reason.NO_PROFILE, Reason.UNATTAINABLE})

MAX_DRAFT_TOKENS = 64
"""The largest K that documents can hold."""

MAX_WORD = 64


def policy_spec(raw: Raw) -> SpeculationPolicySpec | str:
    """The policy's spec, or one line that says what is wrong with it."""
    try:
        return SpeculationPolicySpec.model_validate(raw.get("spec") or {})
    except ValidationError as error:
        return f"spec.{one_line(error)}"


def policy_view(raw: Raw) -> PolicyView:
    """One SpeculationPolicy; an unreadable one governs nothing, and says why."""
    spec = policy_spec(raw)
    meta = raw["metadata"]
    view = PolicyView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        created_seconds=seconds(meta.get("creationTimestamp")) or 0.0,
        match_labels=(),
        mode=Mode.PAUSED,
        loop=EngineLoopMode.LOCAL,
        draft_tokens=(),
        profile_source=ProfileSource.EXISTING,
        reported=tuple(
            (str(each.get("type", "")), str(each.get("reason", "")))
            for each in (raw.get("status") or {}).get("conditions") or []
        ),
        stopped=tuple(
            StoppedTemplate(str(each.get("template", "")), str(each.get("message", "")))
            for each in (raw.get("status") or {}).get("injectionStopped") or []
        ),
        inject_anyway=frozenset(
            part.strip()
            for part in str((meta.get("annotations") or {}).get(names.ANNOTATION_INJECT_ANYWAY, "")).split(",")
            if part.strip()
        ),
    )
    if isinstance(spec, str):
        return replace(view, invalid=spec)
    return replace(
        view,
        objective=to_objective(spec.objective),
        match_labels=tuple(sorted(spec.selector.match_labels.items())),
        mode=Mode(spec.mode),
        loop=EngineLoopMode(spec.engine.loop),
        draft_tokens=tuple(sorted(set(spec.speculation.draft_tokens))),
        profile_source=ProfileSource(spec.profiling.source),
        capacity=ProfilingCapacity(spec.profiling.capacity),
        max_concurrent_nodes=spec.profiling.max_concurrent_nodes,
        max_age_seconds=None if spec.profiling.max_age is None else duration_seconds(spec.profiling.max_age),
    )


def profile_view(raw: Raw) -> ProfileView:
    """One SpeculationProfile or ClusterSpeculationProfile, whoever wrote it."""
    meta = raw["metadata"]
    view = ProfileView(
        meta.get("namespace"),
        meta["name"],
        str((raw.get("spec") or {}).get("key", "")),
        None,
        uid=meta.get("uid", ""),
        generation=int(meta.get("generation", 0)),
        reported=_conditions(raw),
    )
    try:
        spec = SpeculationProfileSpec.model_validate(raw.get("spec") or {})
        if spec.key != spec.identity.key():
            return replace(view, invalid=f"spec.key is not that of spec.identity ({spec.identity.key()})")
        model = to_model(LatencyDocument(cells=spec.cells, fit=spec.fit))
    except ValidationError as error:
        return replace(view, invalid=f"spec.{one_line(error)}")
    except InvalidProfileError as error:
        return replace(view, invalid=str(error))
    served = spec.provenance.source == "Serving"
    return replace(
        view,
        latency=replace(model, doubt=SERVED_DOUBT) if served else model,
        coverage=spec.provenance.coverage,
        identity=_identity(spec.identity),
        measured_seconds=seconds(spec.provenance.measured_at) or seconds(meta.get("creationTimestamp")),
        served=served,
        hold_out_error=None if spec.hold_out_error_permille is None else spec.hold_out_error_permille / 1000,
    )


def _conditions(raw: Raw) -> tuple[ConditionValue, ...]:
    return tuple(
        ConditionValue(*(str(each.get(name, "")) for name in ("type", "status", "reason", "message")))
        for each in (raw.get("status") or {}).get("conditions") or []
    )


def pod_view(raw: Raw, report: EngineReport | None, unreachable: str | None) -> PodView:
    """One selected pod with what its engine said, or why it said nothing."""
    meta = raw["metadata"]
    annotations = meta.get("annotations") or {}
    conditions = (raw.get("status") or {}).get("conditions") or []
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        node=(raw.get("spec") or {}).get("nodeName"),
        labels=tuple(sorted((meta.get("labels") or {}).items())),
        owner=_restartable(meta),
        ready=any(_holds(each) for each in conditions),
        terminating=bool(meta.get("deletionTimestamp")),
        injected=names.ANNOTATION_INJECTED in annotations,
        not_injected_reason=annotations.get(names.ANNOTATION_NOT_INJECTED),
        report=report,
        unreachable=unreachable,
        template=annotations.get(names.ANNOTATION_TEMPLATE),
        failed_start=failed_start(raw, annotations.get(names.ANNOTATION_CONTAINER)),
        changed_seconds=_changed(meta, conditions),
        controller=_controller(meta),
        created_seconds=seconds(meta.get("creationTimestamp")) or 0.0,
        ready_since_seconds=next(
            (seconds(each.get("lastTransitionTime")) for each in conditions if _holds(each)), None
        ),
    )


def _holds(condition: Raw) -> bool:
    return condition.get("type") == "Ready" and condition.get("status") == "True"


def _changed(meta: Raw, conditions: Sequence[Raw]) -> float | None:
    """Since when a pod is terminating, or not Ready."""
    if meta.get("deletionTimestamp"):
        return seconds(meta["deletionTimestamp"])
    ready = next((each for each in conditions if each.get("type") == "Ready"), {})
    if ready.get("status") == "True":
        return None
    return seconds(ready.get("lastTransitionTime") or meta.get("creationTimestamp"))


def _controller(meta: Raw) -> str | None:
    """The controlling owner as ``kind/name``; None for a pod that somebody made by hand."""
    owners = (owner for owner in meta.get("ownerReferences") or [] if owner.get("controller"))
    return next((f"{owner['kind'].lower()}/{owner['name']}" for owner in owners), None)


def _restartable(meta: Raw) -> str | None:
    """What ``kubectl rollout restart`` takes to make this pod anew; None where nothing does."""
    for owner in meta.get("ownerReferences") or []:
        if not owner.get("controller"):
            continue
        suffix = "-" + (meta.get("labels") or {}).get("pod-template-hash", "")
        if owner["kind"] == "ReplicaSet" and len(suffix) > 1 and owner["name"].endswith(suffix):
            return f"deployment/{owner['name'].removesuffix(suffix)}"
        if owner["kind"] in ("StatefulSet", "DaemonSet"):
            return f"{owner['kind'].lower()}/{owner['name']}"
    return None


def is_serving(raw: Raw) -> bool:
    """Neither a profiling pod nor one that has ended: evicted and failed pods linger and are no engines."""
    labels = raw["metadata"].get("labels") or {}
    phase = (raw.get("status") or {}).get("phase")
    return names.LABEL_PROFILING_KEY not in labels and phase not in ("Succeeded", "Failed")


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
        identity=_identity(identity),
        table=tuple(TableRange(row.from_batch, row.to_batch, row.draft_tokens) for row in state.table),
        requests=_requests(state.requests),
        max_num_batched_tokens=state.limits.max_num_batched_tokens,
        kv_cache_tokens=state.limits.kv_cache_tokens,
        graph_sizes=tuple(state.limits.graph_sizes),
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


def _identity(identity: ProfileIdentity) -> EngineIdentity:
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


def seconds(timestamp: object) -> float | None:
    """Seconds since the epoch of a Kubernetes timestamp; None for anything else."""
    try:
        return dt.datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return None
