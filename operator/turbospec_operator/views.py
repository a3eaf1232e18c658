"""Raw Kubernetes objects as the fleet snapshot's views. Pure; bad content becomes a reason."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from turbospec.control.latency import InvalidProfileError
from turbospec.fleet.effects import ConditionValue, StoppedTemplate, VariantRow
from turbospec.fleet.profiles import SERVED_DOUBT
from turbospec.fleet.snapshot import (
    EngineLoopMode,
    EngineReport,
    Mode,
    PodView,
    PolicyView,
    ProfileSource,
    ProfileView,
    ProfilingCapacity,
    StartupVariant,
)
from turbospec.fleet.variants import PLAIN
from turbospec.wire.autoscaling import horizon_seconds
from turbospec.wire.duration import duration_seconds
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.objective import to_objective
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec.wire.speculation_profile import SpeculationProfileSpec
from turbospec_operator import names
from turbospec_operator.engine_views import engine_identity
from turbospec_operator.plain_views import plain_view
from turbospec_operator.pod_failures import failed_start
from turbospec_operator.wording import one_line

Raw = Mapping[str, Any]


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
        variants=tuple(_variant_row(each) for each in (raw.get("status") or {}).get("startupVariants") or []),
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
        preserve=spec.autoscaling.preserve,
        startup_variant=StartupVariant(spec.autoscaling.startup_variant),
        demand_query=spec.autoscaling.demand_query,
        horizon_seconds=None if spec.autoscaling.horizon is None else horizon_seconds(spec.autoscaling.horizon),
        max_age_seconds=None if spec.profiling.max_age is None else duration_seconds(spec.profiling.max_age),
    )


def _variant_row(raw: Raw) -> VariantRow:
    """What the status says of one scale target; counts and words are made anew."""
    selector = raw.get("selector")
    return VariantRow(
        target=str(raw.get("scaleTarget", "")),
        plain=raw.get("variant") == PLAIN,
        reason=str(raw.get("reason", "")),
        selector=None if selector is None else str(selector),
        since_seconds=seconds(raw.get("since")),
        scout_seconds=seconds(raw.get("scoutSince")),
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
    plain = None if spec.plain is None else plain_view(spec.plain, model.fit)
    served = spec.provenance.source == "Serving"
    return replace(
        view,
        latency=replace(model, doubt=SERVED_DOUBT) if served else model,
        coverage=spec.provenance.coverage,
        identity=engine_identity(spec.identity),
        measured_seconds=seconds(spec.provenance.measured_at) or seconds(meta.get("creationTimestamp")),
        served=served,
        hold_out_error=None if spec.hold_out_error_permille is None else spec.hold_out_error_permille / 1000,
        plain=None if isinstance(plain, str) else plain,
        plain_invalid=plain if isinstance(plain, str) else None,
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
        variant=annotations.get(names.ANNOTATION_STARTUP_VARIANT),
        speculation=annotations.get(names.ANNOTATION_SPECULATION),
        ready_since_seconds=next(
            (seconds(each.get("lastTransitionTime")) for each in conditions if _holds(each)), None
        ),
        no_node=next((str(each.get("message") or "") for each in conditions if _finds_no_node(each)), ""),
    )


def _holds(condition: Raw) -> bool:
    return condition.get("type") == "Ready" and condition.get("status") == "True"


def _finds_no_node(condition: Raw) -> bool:
    found = condition.get("type"), condition.get("status"), condition.get("reason")
    return found == ("PodScheduled", "False", "Unschedulable")


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


def seconds(timestamp: object) -> float | None:
    """Seconds since the epoch of a Kubernetes timestamp; None for anything else."""
    try:
        return dt.datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return None
