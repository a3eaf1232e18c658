"""The objects that the operator creates, built purely; the profiling Job's is in ``job_manifest``."""

import datetime as dt
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from turbospec.fleet.effects import (
    ConditionValue,
    DecisionReport,
    EmitEvent,
    HarvestProfile,
    SetPolicyStatus,
    TargetSummary,
    VariantRow,
    WriteServedProfile,
)
from turbospec.fleet.snapshot import EngineIdentity
from turbospec.fleet.variants import PLAIN, SPECULATIVE
from turbospec.wire.autoscaling import StartupVariantStatus
from turbospec.wire.conditions import Condition
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import from_model
from turbospec.wire.speculation_policy_status import (
    DecisionStatus,
    EngineStatus,
    InjectionStop,
    PredictionStatus,
    ScaleTargetStatus,
    ScheduleRange,
    SpeculationPolicyStatus,
)
from turbospec.wire.speculation_profile import Provenance, SpeculationProfileSpec
from turbospec_operator import names
from turbospec_operator.job_views import Measured

MAX_EVENT_NOTE = 1024
"""The API server refuses longer notes."""

MAX_PREDICTIONS = 16
MAX_SELECTOR = 1024
MAX_ENGINE_ROWS = 64
"""SpeculationPolicyStatus.engines holds no more."""


def profile(effect: HarvestProfile, measured: Measured, measured_at: float | None) -> dict[str, Any]:
    """The SpeculationProfile of a Job's result. It has no owner: what was measured outlives Job and policy."""
    result = measured.result
    spec = SpeculationProfileSpec(
        key=result.identity.key(),
        identity=result.identity,
        cells=result.cells,
        fit=result.fit,
        hold_out_error_permille=result.hold_out_error_permille,
        kv_cache_tokens=result.kv_cache_tokens,
        plain=result.plain,
        provenance=Provenance(
            source="Job",
            node=measured.node,
            job=effect.job,
            image=measured.image,
            measured_at=None if measured_at is None else timestamp(measured_at),
            duration_seconds=result.duration_seconds,
            start_seconds=result.start_seconds,
            runtime_version=result.runtime_version,
            coverage=result.coverage,
        ),
    )
    return _profile(effect.namespace, effect.profile, spec)


def served_profile(effect: WriteServedProfile, identity: EngineIdentity, now_seconds: float) -> dict[str, Any]:
    """The SpeculationProfile of what engines measured while they served."""
    document = from_model(effect.model)
    spec = SpeculationProfileSpec(
        key=effect.key,
        identity=ProfileIdentity(**{**asdict(identity), "engine_arguments": dict(identity.engine_arguments)}),
        cells=document.cells,
        fit=document.fit,
        provenance=Provenance(source="Serving", measured_at=timestamp(now_seconds), coverage=effect.coverage),
    )
    return _profile(effect.namespace, effect.name, spec)


def _profile(namespace: str, name: str, spec: SpeculationProfileSpec) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SpeculationProfile",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.LABEL_MANAGED_BY: "turbospec", names.LABEL_PROFILING_KEY: spec.key},
        },
        "spec": spec.model_dump(by_alias=True, exclude_none=True),
    }


def policy_status(effect: SetPolicyStatus, current: Mapping[str, Any], now_seconds: float) -> dict[str, Any]:
    """The status to write. A condition keeps its lastTransitionTime as long as its status does not change."""
    status = SpeculationPolicyStatus(
        observed_generation=effect.observed_generation,
        conditions=conditions(effect.conditions, current, effect.observed_generation, now_seconds),
        pods=effect.pods,
        controlled=effect.controlled,
        profile=effect.profile,
        draft_tokens=effect.draft_tokens,
        engines=[
            EngineStatus(
                pod=each.pod,
                node=each.node,
                controlled=each.controlled,
                draft_tokens=each.draft_tokens,
                batch=each.batch,
                acceptance_percent=each.acceptance_percent,
                profile=each.profile,
                reason=each.reason,
                message=each.message[:1024],
                decision=None if each.decision is None else _decision(each.decision),
                hardware=None if each.hardware is None else each.hardware[:253],
                tokens_per_second=each.tokens_per_second,
                schedule=[
                    ScheduleRange(from_batch=one.from_batch, to_batch=one.to_batch, draft_tokens=one.draft_tokens)
                    for one in each.schedule
                ],
            )
            for each in effect.engines[:MAX_ENGINE_ROWS]
        ],
        scale_targets=[_target(each) for each in effect.targets],
        advice=None if effect.advice is None else effect.advice[:256],
        injection_stopped=[
            InjectionStop(template=each.template, message=each.message[:1024]) for each in effect.stopped
        ],
        startup_variants=[_variant(each) for each in effect.variants],
    )
    return status.model_dump(by_alias=True, exclude_none=True)


def _variant(row: VariantRow) -> StartupVariantStatus:
    selector = row.selector
    return StartupVariantStatus(
        scale_target=row.target,
        # Half a selector would be another one.
        selector=selector if selector is not None and len(selector) <= MAX_SELECTOR else None,
        variant=PLAIN if row.plain else SPECULATIVE,
        since=None if row.since_seconds is None else timestamp(row.since_seconds),
        reason=row.reason,
        message=row.message[:512],
        speculative_pods=row.speculative_pods,
        plain_pods=row.plain_pods,
        scout_since=None if row.scout_seconds is None else timestamp(row.scout_seconds),
    )


def _target(each: TargetSummary) -> ScaleTargetStatus:
    least, most = each.saved_percent or (None, None)
    return ScaleTargetStatus.model_validate(
        {
            "target": each.target,
            "profileKey": each.profile_key,
            "reason": each.reason,
            "recommended": each.recommended,
            "replicasSavedPercentAtLeast": least,
            "replicasSavedPercentAtMost": most,
        }
    )


def _decision(report: DecisionReport) -> DecisionStatus:
    return DecisionStatus(
        draft_tokens=report.draft_tokens,
        reason=report.reason,
        bounding=report.bounding,
        predictions=[
            PredictionStatus(draft_tokens=k, tokens_per_second=rate) for k, rate in report.predictions[:MAX_PREDICTIONS]
        ],
    )


def conditions(
    wanted: Sequence[ConditionValue], current: Mapping[str, Any], generation: int, now_seconds: float
) -> list[Condition]:
    """Conditions with their times, by the Kubernetes API conventions."""
    known = {each.get("type"): each for each in current.get("conditions") or []}
    now = timestamp(now_seconds)
    return [
        Condition.model_validate(
            {
                "type": each.type,
                "status": each.status,
                "observedGeneration": generation,
                "lastTransitionTime": _since(known.get(each.type) or {}, each.status, now),
                "reason": each.reason,
                "message": each.message[:4096],
            }
        )
        for each in wanted
    ]


def _since(known: Mapping[str, Any], status: str, now: str) -> str:
    return str(known["lastTransitionTime"]) if known.get("status") == status else now


def status_patch(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merge patch that makes ``current`` equal ``wanted``; None where it is so already."""
    if wanted == current:
        return None
    return {"status": {**{name: None for name in current if name not in wanted}, **wanted}}


def event(effect: EmitEvent, instance: str, now_seconds: float) -> dict[str, Any]:
    """An events.k8s.io/v1 Event about a policy, or about a pod, with the policy beside it."""
    moment = dt.datetime.fromtimestamp(now_seconds, dt.UTC)
    policy = {
        "apiVersion": names.API_VERSION,
        "kind": "SpeculationPolicy",
        "namespace": effect.namespace,
        "name": effect.policy,
        "uid": effect.policy_uid,
    }
    pod = effect.regarding
    about = policy
    if pod is not None:
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.pod, "uid": pod.uid}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{about['name'][:200]}.{_event_digest(effect)}", "namespace": effect.namespace},
        "eventTime": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": effect.reason[:128],
        "type": effect.type,
        "note": effect.message[:MAX_EVENT_NOTE],
        "regarding": about,
        **({} if pod is None else {"related": policy}),
    }


def _event_digest(effect: EmitEvent) -> str:
    """One name for what is said of a pod, so that a restarted operator says it in vain; policies know what was said."""
    if effect.regarding is None:
        return uuid.uuid4().hex[:16]
    return hashlib.sha256(f"{effect.regarding.uid} {effect.reason}".encode()).hexdigest()[:16]


def timestamp(seconds: float) -> str:
    """A Kubernetes timestamp: RFC 3339 in whole seconds, UTC."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
