"""Conditions of a policy: every one says in one word how things stand, and in its message what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from turbospec.control.objective import Objective
from turbospec.fleet import advised, drift, variants, worthwhile
from turbospec.fleet.advised import AdviceView
from turbospec.fleet.drift import DriftStanding
from turbospec.fleet.effects import ConditionValue, StoppedTemplate, VariantRow
from turbospec.fleet.matching import Overlap
from turbospec.fleet.profile_standing import ProfileReason, ProfileStanding, urgency
from turbospec.fleet.scale_metrics import Preserved, scaling_compatible
from turbospec.fleet.scaling import ScaleTarget
from turbospec.fleet.snapshot import Mode, PolicyView, StartupVariant
from turbospec.fleet.standing import EngineStanding
from turbospec.fleet.worthwhile import TargetValue

MAX_MESSAGE = 1024
"""Events and the rows of the status take no more; conditions would take four times that, but nobody reads it."""

NAMED_PODS = 3

_BY_URGENCY = (
    "EngineUnsupported",
    "NoCommonDraftTokens",
    "ControlRefused",
    "NotInjected",
    "StartedPlain",
    "ProfileInvalid",
    "ProfilingFailed",
    "ProfileMissing",
    "ProfilingBlocked",
    "EngineUnreachable",
    "ProfilingInProgress",
    "ProfilingPending",
    "JobsForbidden",
    "ProfileGrowing",
    "Pending",
    "EngineStarting",
)
"""Which of several reasons a condition shows: first what waits for a person, then what passes by itself."""

_PROFILED_STATUS = {
    ProfileReason.READY: "True",
    ProfileReason.STALE: "True",
    ProfileReason.GROWN_WITHOUT_JOB: "True",
    ProfileReason.NOT_NEEDED: "Unknown",
}


@dataclass(frozen=True, slots=True)
class PolicyFindings:
    """All that the conditions of one policy are made of.

    ``denied`` are the permissions the operator lacks for it, ``stopped`` the templates that are injected no more.
    """

    policy: PolicyView
    engines: tuple[EngineStanding, ...]
    profiles: tuple[ProfileStanding, ...]
    overlaps: tuple[Overlap, ...]
    denied: tuple[str, ...]
    stopped: tuple[StoppedTemplate, ...] = ()
    targets: tuple[ScaleTarget, ...] = ()
    drift: tuple[DriftStanding, ...] = ()
    advice: AdviceView | None = None
    preserved: Mapping[tuple[str, str], Preserved] = field(default_factory=dict)
    demand: ConditionValue | None = None
    history: ConditionValue | None = None
    variants: tuple[VariantRow, ...] = ()
    values: tuple[TargetValue, ...] = ()


def conditions(findings: PolicyFindings) -> tuple[ConditionValue, ...]:
    """Profiled, Injected, Controlled, Ready; ObjectiveAttainable where there is an objective, ProfileAccurate where
    engines could compare, ScalingCompatible where somebody is seen to scale, DemandKnown and HistoryKnown where
    Prometheus is to tell them, Worthwhile where there is a profile, StartupVariantDecided where it is Plain or Auto,
    Advised where there is advice; Exclusive and Permitted only where they are False."""
    controlled = _controlled(findings)
    found = [_profiled(findings, controlled), _injected(findings, controlled), controlled]
    if not findings.policy.objective.empty:
        found.append(_objective(findings, controlled))
    accurate = drift.condition(findings.drift)
    if accurate is not None:
        found.append(accurate)
    scaling = scaling_compatible(findings.targets, findings.preserved)
    if scaling is not None:
        found.append(scaling)
    found.extend(entry for entry in (findings.demand, findings.history) if entry is not None)
    worth = worthwhile.condition(findings.values)
    if worth is not None:
        found.append(worth)
    variant = variants.condition(findings.policy, findings.variants)
    if variant is not None:
        found.append(variant)
    if findings.advice is not None:
        found.append(advised.advised(findings.advice))
    if findings.overlaps:
        found.append(ConditionValue("Exclusive", "False", "ConflictingPolicy", _conflict(findings.overlaps)))
    if findings.denied:
        found.append(ConditionValue("Permitted", "False", "PermissionDenied", _denied(findings.denied)))
    found.append(_ready(findings, controlled))
    return tuple(ConditionValue(entry.type, entry.status, entry.reason, limited(entry.message)) for entry in found)


def limited(message: str) -> str:
    """The message, cut where it exceeds ``MAX_MESSAGE`` characters."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."


def _profiled(findings: PolicyFindings, controlled: ConditionValue) -> ConditionValue:
    if not findings.profiles:
        message = "no engine has said yet which profile it needs."
        if controlled.reason == "StartedPlain":
            message = "nothing is measured for engines without a drafter: there is no K to choose."
        return ConditionValue("Profiled", "Unknown", controlled.reason, message)
    worst = min(findings.profiles, key=lambda standing: urgency(standing.reason))
    others = sum(standing.reason is not worst.reason for standing in findings.profiles)
    more = f" ({others} other kinds of engine stand differently)" if others else ""
    status = _PROFILED_STATUS.get(worst.reason, "False")
    return ConditionValue("Profiled", status, worst.reason.value, worst.message + more)


def _injected(findings: PolicyFindings, controlled: ConditionValue) -> ConditionValue:
    total = len(findings.engines)
    if findings.stopped:
        carrying = sum(standing.pod.injected for standing in findings.engines)
        stops = " ".join(f"Template {stop.template}: {stop.message}" for stop in findings.stopped)
        message = f"{carrying}/{total} pods carry the runtime. {stops}"
        return ConditionValue("Injected", "False", "InjectionStopped", message)
    if not total:
        return ConditionValue("Injected", "Unknown", controlled.reason, "the policy governs no pod.")
    missing = [standing for standing in findings.engines if not standing.pod.injected]
    if not missing:
        return ConditionValue("Injected", "True", "Injected", f"{total}/{total} pods carry the runtime.")
    message = f"{total - len(missing)}/{total} pods carry the runtime. {_explain(missing)}"
    return ConditionValue("Injected", "False", "NotInjected", message)


def _controlled(findings: PolicyFindings) -> ConditionValue:
    policy, engines = findings.policy, findings.engines
    if policy.invalid is not None:
        return _not_controlled("InvalidSpec", f"the spec was refused: {policy.invalid}")
    if not engines:
        return _without_pods(findings)
    if policy.mode is not Mode.ENFORCE:
        message = "nothing is pushed; engines keep what they have. Set spec.mode to Enforce to control them."
        return _not_controlled("Paused" if policy.mode is Mode.PAUSED else "Advising", message)
    # Pods that are not Ready yet hold nothing up, unless there are no others.
    ready = [standing for standing in engines if standing.pod.ready]
    counted = ready or list(engines)
    drafting = [standing for standing in counted if not _plain_as_wanted(policy, standing)]
    failing = [standing for standing in drafting if not standing.controlled]
    controlled = f"{len(drafting) - len(failing)}/{len(drafting)} engines controlled. "
    plain = "" if len(drafting) == len(counted) else _plain_pods(len(counted) - len(drafting), len(counted))
    if failing:
        reason = min((standing.reason for standing in failing), key=_BY_URGENCY.index)
        shown = [standing for standing in failing if standing.reason == reason]
        return _not_controlled(reason, f"{controlled}{plain}{_explain(shown)}")
    if not ready:
        return _not_controlled("EngineStarting", "engines have their documents, but none of their pods is Ready yet.")
    said = f"{controlled if drafting else ''}{plain}".strip()
    return ConditionValue("Controlled", "True", "Controlled" if drafting else "StartedPlain", said)


def _plain_as_wanted(policy: PolicyView, standing: EngineStanding) -> bool:
    """Whether there is nothing to control in it, and nothing wrong with that."""
    return standing.reason == "StartedPlain" and policy.startup_variant is not StartupVariant.SPECULATIVE


def _plain_pods(plain: int, pods: int) -> str:
    return f"{plain} of {pods} pods were started plain, as the policy wants: there is no K to choose in them. "


def _objective(findings: PolicyFindings, controlled: ConditionValue) -> ConditionValue:
    """What engines say; an objective that no K meets needs a person, for control has done what it can."""
    kind, total = "ObjectiveAttainable", len(findings.engines)
    wanted = _ceilings(findings.policy.objective)
    missing = [standing.pod.name for standing in findings.engines if standing.unattainable]
    known = sum(standing.unattainable is not None for standing in findings.engines)
    if missing:
        message = (
            f"{len(missing)}/{total} engines find no K that meets {wanted} at their load, and run the one that misses "
            f"it least: {_names(missing)}. Raise the ceiling in spec.objective, or give each engine less load: more "
            "replicas, or a lower --max-num-seqs."
        )
        return ConditionValue(kind, "False", "Unattainable", message)
    if known:
        message = f"{known}/{total} engines find a K that is predicted to meet {wanted}."
        return ConditionValue(kind, "True", "Attainable", message)
    if len(findings.policy.draft_tokens) == 1:
        return ConditionValue(kind, "Unknown", "NotJudged", "K is pinned, so that none is chosen by spec.objective.")
    message = f"no engine has said yet whether some K meets {wanted}: it shows once they decide under load."
    return ConditionValue(kind, "Unknown", "NotJudged" if controlled.status == "True" else controlled.reason, message)


def _ceilings(objective: Objective) -> str:
    said: list[str] = []
    if objective.time_per_output_token_seconds is not None:
        percent = objective.time_per_output_token_percentile
        said.append(f"{1e3 * objective.time_per_output_token_seconds:.0f} ms per output token (p{percent})")
    if objective.time_to_first_token_seconds is not None:
        percent = objective.time_to_first_token_percentile
        said.append(f"{1e3 * objective.time_to_first_token_seconds:.0f} ms to the first token (p{percent})")
    return " and ".join(said)


def _without_pods(findings: PolicyFindings) -> ConditionValue:
    policy = findings.policy
    if findings.overlaps:
        return _not_controlled("ConflictingPolicy", _conflict(findings.overlaps))
    labels = ",".join(f"{key}={value}" for key, value in policy.match_labels)
    message = (
        f"no pod in namespace {policy.namespace} matches {labels}. Correct spec.selector.matchLabels or start such "
        f"pods. See kubectl get pods -n {policy.namespace} -l {labels}"
    )
    return _not_controlled("NoPodsMatched", message)


def _ready(findings: PolicyFindings, controlled: ConditionValue) -> ConditionValue:
    if controlled.status == "True":
        drafting = controlled.reason == "Controlled"
        return ConditionValue(
            "Ready", "True", "AllEnginesControlled" if drafting else "StartedPlain", controlled.message
        )
    if findings.denied:
        return ConditionValue("Ready", "False", "PermissionDenied", _denied(findings.denied))
    return ConditionValue("Ready", "False", controlled.reason, controlled.message)


def _not_controlled(reason: str, message: str) -> ConditionValue:
    return ConditionValue("Controlled", "False", reason, message)


def _conflict(overlaps: Sequence[Overlap]) -> str:
    said: list[str] = []
    for overlap in overlaps:
        older = "this" if overlap.governs else "that"
        said.append(
            f"{_names(overlap.pods)} also selected by SpeculationPolicy {overlap.other}: "
            f"{older} policy is the older and governs them."
        )
    return " ".join(said) + " Narrow one of the selectors."


def _denied(denied: Sequence[str]) -> str:
    return f"the operator lacks permissions: {'; '.join(denied)}. Grant them to its service account (the chart does)."


def _explain(standings: Sequence[EngineStanding]) -> str:
    """Every distinct message once, with the pods it is about."""
    pods: dict[str, list[str]] = {}
    for standing in standings:
        pods.setdefault(standing.message, []).append(standing.pod.name)
    return " ".join(f"{_names(names)}: {message}" for message, names in list(pods.items())[:NAMED_PODS])


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_PODS])
    return shown if len(names) <= NAMED_PODS else f"{shown} and {len(names) - NAMED_PODS} more"
