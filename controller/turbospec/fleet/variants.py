"""``spec.autoscaling.startupVariant`` in one round: how new pods of each scale target start, and why, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from turbospec.fleet.effects import ConditionValue, EmitEvent, VariantRow
from turbospec.fleet.load_memory import LoadKey
from turbospec.fleet.scaling import ScaleTarget
from turbospec.fleet.snapshot import EngineReport, Mode, PodView, PolicyView, StartupVariant
from turbospec.fleet.startup_variant import (
    StartedPod,
    VariantMemory,
    begin,
    observe,
    patience_seconds,
)
from turbospec.fleet.worth import Variant, Worth

CONDITION = "StartupVariantDecided"
NO_SPECULATION = "NoSpeculation"
"""What an engine without a drafter says of why it cannot be steered (``turbospec.engine.methods``)."""

SPECULATIVE: Final = "Speculative"
PLAIN: Final = "Plain"
REFUSED: Final = "Refused"
"""What the webhook notes on a pod: how it started it, or that this is not for the policy to say."""

MAX_ROWS = 16
"""The bound of the custom resource; targets beyond it start with the drafter."""

KEPT_SECONDS = 86_400.0
"""How long what is in force is kept for a target without pods: overnight at zero it is still the same text."""

KNOWN_SECONDS = 3600.0
"""Worth that was known within this time, or what was decided by it, is no news when it is unknown for a while."""

_UNKNOWN = (
    "whether the drafter is worth its pods is not known, and until then nothing changes. It takes a profile that a Job "
    "has measured without the drafter too, requests, and engines that draft"
)

Place = tuple[str, str]
"""Policy uid, or namespace, and scale target."""


@dataclass(frozen=True, slots=True)
class VariantRound:
    """What is in force by scale target, what to remember, and an event for each change."""

    rows: tuple[VariantRow, ...] = ()
    memory: Mapping[Place, VariantMemory] = field(default_factory=dict)
    events: tuple[EmitEvent, ...] = ()


def is_plain(report: EngineReport) -> bool:
    """Whether the engine was started without a drafter."""
    return report.unsupported_code == NO_SPECULATION


def is_as_wanted(policy: PolicyView, pod: PodView) -> bool:
    """Whether the pod runs plain because this policy, as it is or was, had it started so."""
    if pod.report is None or not is_plain(pod.report):
        return False
    return pod.variant == PLAIN or policy.startup_variant is StartupVariant.PLAIN


@dataclass(frozen=True, slots=True)
class VariantSituation:
    """What one policy's variants are decided on.

    ``target_of`` names each pod's scale target by its uid, ``targets`` are by namespace and name.
    """

    policy: PolicyView
    pods: Sequence[PodView]
    target_of: Mapping[str, str]
    targets: Mapping[Place, ScaleTarget]
    worths: Mapping[LoadKey, Worth | None]
    now_seconds: float


def decide_variants(situation: VariantSituation, memory: Mapping[Place, VariantMemory]) -> VariantRound:
    """How new pods start from now on. Pure and total.

    What is in force without any memory (a restart) is what the policy's status says; else Speculative.
    """
    policy, now = situation.policy, situation.now_seconds
    if policy.startup_variant is StartupVariant.SPECULATIVE:
        return VariantRound()
    grouped: dict[str, list[PodView]] = {}
    for pod in situation.pods:
        grouped.setdefault(situation.target_of[pod.uid], []).append(pod)
    known = _known(policy, memory, now)
    rows: list[VariantRow] = []
    found: dict[Place, VariantMemory] = {}
    events: list[EmitEvent] = []
    for target in sorted({*grouped, *known}):
        group = _Group(policy, target, tuple(grouped.get(target, ())), _selector(situation, target))
        before = known.get(target) or begin(now, plain=False)
        after = _next(group, before, _together(situation, target), now)
        row = _row(group, after, now)
        if after.plain is not before.plain and policy.startup_variant is StartupVariant.AUTO:
            events.append(_changed(policy, row))
        rows.append(row)
        found[policy.uid, target] = after
    rows.sort(key=lambda row: (not row.plain, row.target))
    return VariantRound(tuple(rows[:MAX_ROWS]), found, tuple(events))


def condition(policy: PolicyView, rows: Sequence[VariantRow]) -> ConditionValue | None:
    """Whether somebody decides how new pods start; None where that is not asked for, and where there are no pods."""
    if policy.startup_variant is StartupVariant.SPECULATIVE or not rows:
        return None
    message = " ".join(f"{row.target}: {row.message}" for row in rows)
    reasons = {row.reason for row in rows}
    if "VariantRefused" in reasons:
        return ConditionValue(CONDITION, "False", "VariantRefused", message)
    if reasons == {"WorthUnknown"}:
        return ConditionValue(CONDITION, "Unknown", "WorthUnknown", message)
    return ConditionValue(CONDITION, "True", "VariantDecided", message)


@dataclass(frozen=True, slots=True)
class _Group:
    """The pods of one scale target, and its selector."""

    policy: PolicyView
    target: str
    members: tuple[PodView, ...]
    selector: str | None


def _known(policy: PolicyView, memory: Mapping[Place, VariantMemory], now: float) -> dict[str, VariantMemory]:
    """What is remembered by scale target, or said by the status; of targets without pods not for ever."""
    found = {
        row.target: begin(now, plain=row.plain, since_seconds=row.since_seconds, known=row.reason != "WorthUnknown")
        for row in policy.variants
        if (policy.uid, row.target) not in memory
    }
    found |= {name: entry for (uid, name), entry in memory.items() if uid == policy.uid}
    return {name: entry for name, entry in found.items() if now - entry.seen_seconds < KEPT_SECONDS}


def _next(group: _Group, before: VariantMemory, worth: Worth | None, now: float) -> VariantMemory:
    if group.policy.startup_variant is StartupVariant.PLAIN:
        since = before.since_seconds if before.plain else now
        seen = now if group.members else before.seen_seconds
        return replace(begin(now, plain=True, since_seconds=since), seen_seconds=seen)
    judged = group.policy.mode is Mode.ENFORCE and _refusal(group) is None
    return observe(before, worth if judged else None, [_started(pod) for pod in group.members], now)


def _together(situation: VariantSituation, target: str) -> Worth | None:
    """Of pods on several kinds of hardware, where nobody knows which one a new pod gets: what holds for all of them."""
    place = (situation.policy.namespace, target)
    known = [situation.worths[key] for key in sorted(situation.worths) if key[:2] == place]
    sure = [worth for worth in known if worth is not None]
    if not sure or len(sure) < len(known):
        return None
    kept = any(worth.kept for worth in sure)
    return Worth(min(worth.low for worth in sure), max(worth.high for worth in sure), kept)


def _selector(situation: VariantSituation, target: str) -> str | None:
    linked = situation.targets.get((situation.policy.namespace, target))
    if linked is not None:
        return next((entry.selector for entry in linked.autoscalers if entry.selector), None)
    return next((row.selector for row in situation.policy.variants if row.target == target), None)


def _started(pod: PodView) -> StartedPod:
    plain = None if pod.report is None else is_plain(pod.report)
    if plain is None and pod.variant in (PLAIN, SPECULATIVE):
        plain = pod.variant == PLAIN
    return StartedPod(pod.uid, pod.created_seconds, plain, pod.ready and pod.report is not None)


def _refusal(group: _Group) -> str | None:
    """Why the variant is not for the policy to say, by the newest pod that the webhook has judged."""
    judged = [pod for pod in group.members if pod.variant is not None]
    newest = max(judged, key=lambda pod: (pod.created_seconds, pod.uid), default=None)
    if newest is None or newest.variant != REFUSED:
        return None
    return newest.speculation or "its template decides"


def _row(group: _Group, memory: VariantMemory, now: float) -> VariantRow:
    started = [_started(pod).plain for pod in group.members]
    reason, why = _why(group, memory, now)
    how = "plain" if memory.plain else "with the drafter"
    says = f"{why}." if reason == "VariantRefused" else f"new pods start {how}: {why}."
    return VariantRow(
        target=group.target,
        plain=memory.plain,
        reason=reason,
        message=f"{says} {started.count(True)} of {len(started)} pods were started plain.",
        selector=group.selector,
        since_seconds=memory.since_seconds,
        speculative_pods=started.count(False),
        plain_pods=started.count(True),
        scout_seconds=memory.scout_seconds,
    )


def _why(group: _Group, memory: VariantMemory, now: float) -> tuple[str, str]:
    """The row's reason, and why in words."""
    refused, worth = _refusal(group), memory.worth
    if refused is not None:
        return "VariantRefused", refused
    if group.policy.startup_variant is StartupVariant.PLAIN:
        return "AsSpecified", "spec.autoscaling.startupVariant says so"
    if worth is None:
        recently = memory.known_seconds is not None and now - memory.known_seconds < KNOWN_SECONDS
        return ("Kept" if recently or memory.plain else "WorthUnknown"), _UNKNOWN
    saves = f"the drafter saves {_span(worth.low, worth.high)} of a plain fleet's replicas"
    if worth.high < 0.0:
        saves = f"the drafter takes {_span(-worth.high, -worth.low)} more replicas than plain pods"
    if worth.kept:
        saves += ", by the metric that autoscaling.preserve keeps"
    if worth.recommended is Variant.EITHER:
        return "Kept", f"{saves}, which tells neither from the other"
    if (worth.recommended is Variant.PLAIN) is memory.plain:
        return "Recommended", saves
    patience = patience_seconds(memory, now)
    lasted = f"{memory.recommended_seconds / 60:.0f} of the {patience / 60:.0f} minutes that a change takes"
    return "Waiting", f"{saves}, and {worth.recommended} has been recommended for {lasted}"


def _span(least: float, most: float) -> str:
    low, high = f"{least:.0%}", f"{most:.0%}"
    return low if low == high else f"{low} to {high}"


def _changed(policy: PolicyView, row: VariantRow) -> EmitEvent:
    return EmitEvent(
        policy.namespace,
        policy.name,
        policy.uid,
        "Normal",
        "StartsPlain" if row.plain else "StartsSpeculative",
        f"{row.target}: {row.message}",
    )
