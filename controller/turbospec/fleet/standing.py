"""How one governed engine stands, in one word and one sentence."""

from dataclasses import dataclass

from turbospec.fleet import objective, pushing
from turbospec.fleet.documents import Document, DocumentKind, read_id
from turbospec.fleet.memory import EngineMemory
from turbospec.fleet.profile_standing import ProfileReason, ProfileStanding
from turbospec.fleet.snapshot import EngineReport, Mode, PodView, PolicyView, StartupVariant
from turbospec.fleet.variants import is_as_wanted

INJECT_LABEL = "turbospec.io/inject"

UNREACHABLE_GRACE_SECONDS = 10.0
"""An engine that was controlled a moment ago still is: a lost answer or two is no news, and its loop needs nobody."""

QUIET_TRIES = 2
"""A newer document may be put this often without effect before the engine counts as not controlled."""

_CONTROLLED = {
    DocumentKind.PINNED: "runs the one K that the policy allows.",
    DocumentKind.LOCAL: "decides K on every step from its profile.",
    DocumentKind.TABLE: "runs the operator's table.",
    DocumentKind.WAITING: "learns its step times while serving, from its start-up table on, until there is a profile.",
}


@dataclass(frozen=True, slots=True)
class EngineStanding:
    """``profile`` is the name of the profile that fits, where there is one.

    ``unattainable``: whether no K meets the policy's objective on this engine; None where that is not known.
    """

    pod: PodView
    controlled: bool
    reason: str
    message: str
    profile: str | None = None
    unattainable: bool | None = None


def allowed_draft_tokens(policy: PolicyView, report: EngineReport) -> tuple[int, ...]:
    """The K that both the policy and the engine (its captured graphs) allow, rising."""
    return tuple(sorted(set(policy.draft_tokens) & set(report.engine_draft_tokens)))


def obstacle(
    policy: PolicyView, pod: PodView, remembered: EngineMemory | None, profile: str | None, now_seconds: float
) -> EngineStanding:
    """Why nothing is decided for this pod in this round. Only for pods that cannot be controlled or do not answer."""
    if not pod.injected:
        return EngineStanding(pod, False, "NotInjected", _not_injected(pod))
    report = pod.report
    if report is None:
        return _silent(policy, pod, remembered, profile, now_seconds)
    if is_as_wanted(policy, pod):
        return EngineStanding(pod, False, "StartedPlain", _started_plain(policy, pod))
    if report.unsupported_code is not None:
        message = f"{report.unsupported_code}: {report.unsupported_message or 'the engine gives no reason'}"
        return EngineStanding(pod, False, "EngineUnsupported", message)
    message = (
        f"the policy allows draftTokens {list(policy.draft_tokens)}, "
        f"the engine {list(report.engine_draft_tokens)}: none in common. "
        "Change spec.speculation.draftTokens or the engine's num_speculative_tokens."
    )
    return EngineStanding(pod, False, "NoCommonDraftTokens", message)


def hands_off(policy: PolicyView, pod: PodView, profiling: ProfileStanding) -> EngineStanding:
    """The standing under a policy that pushes nothing."""
    if policy.mode is Mode.PAUSED:
        message = "the policy is paused; the engine keeps what it has."
        return EngineStanding(pod, False, "Paused", message, profiling.profile)
    message = "mode Advise: nothing is pushed. Set spec.mode to Enforce to control it."
    return EngineStanding(pod, False, "Advising", message, profiling.profile)


def without_news(pod: PodView, report: EngineReport, profiling: ProfileStanding) -> EngineStanding:
    """The standing of an engine that had better keep what it has."""
    kind = read_id(report.applied_id).kind
    controlled = kind in (DocumentKind.LOCAL, DocumentKind.TABLE, DocumentKind.PINNED, DocumentKind.PROBE)
    if not profiling.reason.usable:
        message = f"keeps its last document. {profiling.message}"
        return EngineStanding(pod, controlled, profiling.reason, message, profiling.profile)
    message = "keeps its document until there is evidence for a table."
    if profiling.reason is ProfileReason.PROVISIONAL and kind is DocumentKind.LOCAL:
        message = "keeps the model of its own profile, which is gone: it is nearer than what would stand in."
    return EngineStanding(pod, controlled, "Controlled" if controlled else "Pending", message, profiling.profile)


def towards(
    wanted: Document, pod: PodView, report: EngineReport, memory: EngineMemory, profiling: ProfileStanding
) -> EngineStanding:
    """The standing of an engine that should run ``wanted``, before this round's push has had its effect."""
    applied = read_id(report.applied_id).kind
    no_model = wanted.kind is DocumentKind.WAITING and not profiling.reason.usable
    # Growing is no lack: the engine decides by what it learns.
    no_model = no_model and profiling.reason not in (ProfileReason.GROWING, ProfileReason.FORBIDDEN)
    if not pushing.in_force(memory, report, wanted) and (not no_model or pod.refusal is not None):
        if pod.refusal is not None:
            message = f"the engine refused its document ({pod.refusal}) and keeps the last good one; it is asked again."
            return EngineStanding(pod, False, "ControlRefused", message, profiling.profile)
        if applied in (None, DocumentKind.WAITING) or memory.sent_tries > QUIET_TRIES:
            return EngineStanding(pod, False, "Pending", "a document is on its way to the engine.", profiling.profile)
    elif no_model:
        return EngineStanding(pod, False, profiling.reason, profiling.message, profiling.profile)
    return EngineStanding(pod, True, "Controlled", _CONTROLLED.get(wanted.kind, ""), profiling.profile)


def last_report(pod: PodView, remembered: EngineMemory | None, now_seconds: float) -> EngineReport | None:
    """What the engine says, or said within ``UNREACHABLE_GRACE_SECONDS``."""
    if pod.report is not None or remembered is None:
        return pod.report
    return remembered.report if now_seconds - remembered.report_seconds < UNREACHABLE_GRACE_SECONDS else None


def _silent(
    policy: PolicyView, pod: PodView, remembered: EngineMemory | None, profile: str | None, now_seconds: float
) -> EngineStanding:
    """An engine that does not answer: starting, lost for a moment, or unreachable."""
    was_controlled = remembered is not None and remembered.sent_id is not None and remembered.sent_tries == 0
    if was_controlled and last_report(pod, remembered, now_seconds) is not None:
        missed = objective.unattainable(remembered, policy.objective)
        return EngineStanding(pod, True, "Controlled", "it does not answer at the moment.", profile, missed)
    if not pod.ready:
        return EngineStanding(pod, False, "EngineStarting", "the pod is not Ready and its engine does not answer yet.")
    message = (
        f"the engine's control server cannot be reached: {pod.unreachable or 'no reason given'}. It goes on serving as "
        f"it is. See kubectl logs {pod.name} -n {pod.namespace}, and whether the operator may reach its control port."
    )
    return EngineStanding(pod, False, "EngineUnreachable", message)


def _started_plain(policy: PolicyView, pod: PodView) -> str:
    if policy.startup_variant is not StartupVariant.SPECULATIVE:
        return "it was started without the drafter, as the policy wants: there is no K to choose while it lives."
    again = f"kubectl rollout restart {pod.owner} -n {pod.namespace}" if pod.owner else f"delete pod {pod.name}"
    return f"it was started without the drafter, as the policy wanted then. To have it speculate: {again}"


def _not_injected(pod: PodView) -> str:
    if pod.not_injected_reason:
        steps = [f"The webhook left the pod as it was: {pod.not_injected_reason}.", "Correct that."]
    elif INJECT_LABEL in dict(pod.labels):
        steps = ["The pod is older than the policy, or the webhook was not reached."]
    else:
        steps = [f'Label its pod template or namespace {INJECT_LABEL}: "true".']
    if pod.owner is None:
        steps.append("Then delete the pod, so that it is created anew through the webhook.")
    else:
        steps.append(f"Then: kubectl rollout restart {pod.owner} -n {pod.namespace}")
    return f"the TurboSpec runtime is not in the pod. {' '.join(steps)}"
