"""One engine in one round: what it should run, whether that is put to it now, and how it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from turbospec.fleet import documents, evidence, pushing, table_mode
from turbospec.fleet.documents import Document, DocumentKind
from turbospec.fleet.effects import PushControl
from turbospec.fleet.memory import EngineMemory, PooledPosition
from turbospec.fleet.prior import is_mature, prior_code
from turbospec.fleet.profiles import FittingProfile
from turbospec.fleet.profiling import ProfileReason, ProfileStanding
from turbospec.fleet.snapshot import EngineLoopMode, EngineReport, Mode, PodView, PolicyView


@dataclass(frozen=True, slots=True)
class EngineStanding:
    """How one governed pod stands: the row of the status and what the conditions are made of."""

    pod: PodView
    controlled: bool
    reason: str
    message: str
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class EngineRound:
    """The outcome of one round for one engine; ``memory`` is None where there is nothing to remember."""

    standing: EngineStanding
    pushes: tuple[PushControl, ...] = ()
    memory: EngineMemory | None = None


@dataclass(frozen=True, slots=True)
class FleetKnowledge:
    """What the rest of the fleet contributes to one engine: its profile, its standing, and the pooled acceptance of others."""

    profile: FittingProfile | None
    standing: ProfileStanding
    pool: Sequence[PooledPosition]


def allowed_draft_tokens(policy: PolicyView, report: EngineReport) -> tuple[int, ...]:
    """The K that both the policy and the engine (its captured graphs) allow, rising."""
    return tuple(sorted(set(policy.draft_tokens) & set(report.engine_draft_tokens)))


def obstacle(policy: PolicyView, pod: PodView) -> EngineStanding | None:
    """Why this pod cannot be controlled whatever is decided; None where it can."""
    if not pod.injected:
        return EngineStanding(pod, False, "NotInjected", _not_injected(pod))
    report = pod.report
    if report is None and not pod.ready:
        return EngineStanding(pod, False, "EngineStarting", "the pod is not Ready and its engine does not answer yet.")
    if report is None:
        message = (
            f"engine control server unreachable: {pod.unreachable or 'no reason given'}. It goes on serving as it is; check "
            f"kubectl -n {pod.namespace} logs {pod.name} and that the operator may reach the pod's control port."
        )
        return EngineStanding(pod, False, "EngineUnreachable", message)
    if report.unsupported_code is not None:
        message = f"{report.unsupported_code}: {report.unsupported_message or 'no reason given'}"
        return EngineStanding(pod, False, "EngineUnsupported", message)
    if not allowed_draft_tokens(policy, report):
        message = (
            f"the policy allows draftTokens {list(policy.draft_tokens)}, the engine {list(report.engine_draft_tokens)}: "
            "none in common. Change spec.speculation.draftTokens or the engine's num_speculative_tokens."
        )
        return EngineStanding(pod, False, "NoCommonDraftTokens", message)
    return None


def decide_engine(
    policy: PolicyView,
    pod: PodView,
    report: EngineReport,
    fleet: FleetKnowledge,
    remembered: EngineMemory | None,
    now_seconds: float,
) -> EngineRound:
    """Decide for an engine without an obstacle. ``remembered`` may be of an earlier process in the same pod."""
    memory = remembered
    if memory is None or memory.engine_id != report.engine_id:
        memory = EngineMemory(report.engine_id, now_seconds)
    memory = evidence.observe(memory, report, now_seconds)
    profile_name = fleet.profile.name if fleet.profile is not None else None
    if policy.mode is not Mode.ENFORCE:
        return EngineRound(_hands_off(policy, pod, profile_name), memory=memory)
    allowed = allowed_draft_tokens(policy, report)
    wanted, memory = _wanted(policy, report, allowed, fleet, memory)
    pushes: list[PushControl] = []
    if wanted is not None:
        memory = pushing.acknowledged(memory, report, wanted, now_seconds)
        if pushing.is_due(memory, report, wanted, now_seconds):
            pushes.append(documents.push(wanted, pod, policy))
            memory = pushing.sent(memory, report, wanted, now_seconds)
    if not pushes and _may_probe(policy, report, allowed, fleet, wanted, memory):
        memory, push = _probe(policy, pod, report, allowed, fleet, memory, now_seconds)
        pushes.extend(push)
    standing = _standing(pod, report, wanted, fleet.standing, memory, profile_name)
    return EngineRound(standing, tuple(pushes), memory)


def _wanted(
    policy: PolicyView,
    report: EngineReport,
    allowed: tuple[int, ...],
    fleet: FleetKnowledge,
    memory: EngineMemory,
) -> tuple[Document | None, EngineMemory]:
    """The document the engine should have in force; None where it had better keep what it has."""
    if len(allowed) == 1:
        return documents.pinned_document(policy, allowed[0]), memory
    profile = fleet.profile
    applied = documents.read_id(report.applied_id)
    if profile is not None and profile.latency is not None:
        if policy.loop is EngineLoopMode.LOCAL:
            base = documents.local_base(policy, allowed, profile.digest)
            return documents.local_document(base, allowed, profile.latency, _prior_code(report, base, fleet)), memory
        # A table from an earlier operator is better than one from the pool: evidence of its own comes within seconds.
        pool = () if applied.kind is DocumentKind.TABLE else fleet.pool
        known = table_mode.estimates(memory, report, pool)
        table = table_mode.choose_table(profile.latency, known, allowed, report, memory)
        if table is not None:
            return documents.table_document(policy, allowed, table), replace(memory, table=table)
    replaceable = report.applied_id is None or applied.kind in (DocumentKind.WAITING, DocumentKind.PINNED)
    return (documents.waiting_document(policy, allowed) if replaceable else None), memory


def _prior_code(report: EngineReport, base: str, fleet: FleetKnowledge) -> str:
    """A mature engine keeps the prior it was given; others get the pool's, unless theirs is near enough."""
    applied = documents.read_id(report.applied_id)
    if applied.base == base and is_mature(report):
        return applied.prior_code
    return prior_code(tuple(fleet.pool), applied.prior_code if applied.kind is DocumentKind.LOCAL else "")


def _may_probe(
    policy: PolicyView,
    report: EngineReport,
    allowed: tuple[int, ...],
    fleet: FleetKnowledge,
    wanted: Document | None,
    memory: EngineMemory,
) -> bool:
    """Only under our own table: the engine loop does its own probing."""
    has_model = fleet.profile is not None and fleet.profile.latency is not None
    if policy.loop is not EngineLoopMode.TABLE or len(allowed) < 2 or not has_model or pushing.overlay_in_force(report):
        return False
    if wanted is None:
        return documents.read_id(report.applied_id).kind is DocumentKind.TABLE
    return pushing.in_force(memory, report, wanted)


def _probe(
    policy: PolicyView,
    pod: PodView,
    report: EngineReport,
    allowed: tuple[int, ...],
    fleet: FleetKnowledge,
    memory: EngineMemory,
    now_seconds: float,
) -> tuple[EngineMemory, tuple[PushControl, ...]]:
    if fleet.profile is None or fleet.profile.latency is None:
        return memory, ()
    known = table_mode.estimates(memory, report, fleet.pool)
    probe = table_mode.choose_probe(fleet.profile.latency, known, allowed, report, memory, now_seconds)
    if probe is None:
        return memory, ()
    document = documents.probe_document(policy, allowed, probe.table, table_mode.PROBE_TTL_SECONDS, now_seconds)
    return table_mode.probed(memory, probe, now_seconds), (documents.push(document, pod, policy),)


def _hands_off(policy: PolicyView, pod: PodView, profile: str | None) -> EngineStanding:
    if policy.mode is Mode.PAUSED:
        return EngineStanding(pod, False, "Paused", "the policy is paused; the engine keeps what it has.", profile)
    return EngineStanding(pod, False, "Advising", "mode Advise: nothing is pushed. Set spec.mode to Enforce.", profile)


_CONTROLLED = {
    DocumentKind.PINNED: "runs the one K that the policy allows.",
    DocumentKind.LOCAL: "decides K on every step from its profile.",
    DocumentKind.TABLE: "runs the operator's table.",
}


def _standing(
    pod: PodView,
    report: EngineReport,
    wanted: Document | None,
    profile_standing: ProfileStanding,
    memory: EngineMemory,
    profile: str | None,
) -> EngineStanding:
    """Where the engine stands before the pushes of this round have had their effect."""
    no_model = profile_standing.reason is not ProfileReason.READY
    if wanted is None:
        if no_model:
            message = f"keeps its last document. {profile_standing.message}"
            return EngineStanding(pod, _has_orders(report), profile_standing.reason, message, profile)
        return EngineStanding(
            pod, True, "Controlled", "keeps its document until there is evidence for a table.", profile
        )
    if not pushing.in_force(memory, report, wanted):
        if pod.refusal is not None:
            message = f"the engine refused the document: {pod.refusal}. It keeps the last good one; it is asked again."
            return EngineStanding(pod, False, "ControlRefused", message, profile)
        return EngineStanding(pod, False, "Pending", "a document is on its way to the engine.", profile)
    if wanted.kind is DocumentKind.WAITING and no_model:
        return EngineStanding(pod, False, profile_standing.reason, profile_standing.message, profile)
    message = _CONTROLLED.get(wanted.kind, "runs its start-up table until there is evidence for a better one.")
    return EngineStanding(pod, True, "Controlled", message, profile)


def _has_orders(report: EngineReport) -> bool:
    return documents.read_id(report.applied_id).kind in (DocumentKind.LOCAL, DocumentKind.TABLE, DocumentKind.PINNED)


def _not_injected(pod: PodView) -> str:
    why = f" ({pod.not_injected_reason})" if pod.not_injected_reason else ""
    if pod.owner is None:
        remedy = "Delete the pod so that it is created anew through the webhook."
    else:
        remedy = f"Run: kubectl rollout restart {pod.owner} -n {pod.namespace}"
    return f"the TurboSpec runtime is not in this pod{why}. {remedy}"


def by_reason(standings: Sequence[EngineStanding]) -> Mapping[str, list[EngineStanding]]:
    """Standings grouped by reason."""
    groups: dict[str, list[EngineStanding]] = {}
    for standing in standings:
        groups.setdefault(standing.reason, []).append(standing)
    return groups
