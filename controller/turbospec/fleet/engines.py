"""One engine in one round: what it should run, and whether that is put to it now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from turbospec.control.latency import LatencyModel
from turbospec.fleet import documents, evidence, objective, pushing, standing, table_mode
from turbospec.fleet.documents import Document, DocumentKind
from turbospec.fleet.effects import PushControl
from turbospec.fleet.memory import EngineMemory, PooledPosition
from turbospec.fleet.prior import is_mature, prior_code
from turbospec.fleet.profile_standing import ProfileStanding
from turbospec.fleet.profiles import FittingProfile
from turbospec.fleet.snapshot import EngineLoopMode, EngineReport, Mode, PodView, PolicyView, ProfileSource
from turbospec.fleet.standing import EngineStanding


@dataclass(frozen=True, slots=True)
class EngineRound:
    """The outcome of one round for one engine; ``memory`` is None where there is nothing to remember."""

    standing: EngineStanding
    pushes: tuple[PushControl, ...] = ()
    memory: EngineMemory | None = None


@dataclass(frozen=True, slots=True)
class EngineSituation:
    """All that one engine is decided on, but its memory. ``pool`` is of its peers.

    ``allowed`` is never empty; it may hold fewer K than policy and engine allow, while its autoscaler is kept quiet.
    """

    policy: PolicyView
    pod: PodView
    report: EngineReport
    allowed: tuple[int, ...]
    profile: FittingProfile | None
    profiling: ProfileStanding
    pool: Sequence[PooledPosition]
    now_seconds: float

    @property
    def latency(self) -> LatencyModel | None:
        """The latency model of the profile that fits; None where there is none or it was refused."""
        return None if self.profile is None else self.profile.latency


def decide_engine(situation: EngineSituation, remembered: EngineMemory | None) -> EngineRound:
    """Decide for an engine without an obstacle. ``remembered`` may be of an earlier process in the same pod."""
    policy, pod, report, now = situation.policy, situation.pod, situation.report, situation.now_seconds
    memory = remembered
    if memory is None or memory.engine_id != report.engine_id:
        memory = EngineMemory(report.engine_id, now)
    memory = evidence.observe(memory, report, now)
    if policy.mode is not Mode.ENFORCE:
        return EngineRound(standing.hands_off(policy, pod, situation.profiling), memory=memory)
    wanted, memory = _wanted(situation, memory)
    if wanted is None:
        memory, pushes = _probe(situation, memory, None)
        return EngineRound(standing.without_news(pod, report, situation.profiling), pushes, memory)
    memory = pushing.acknowledged(memory, report, wanted, now)
    in_force = wanted.kind if pushing.in_force(memory, report, wanted) else None
    memory = objective.judge(memory, report, policy.objective, in_force, now)
    stands = standing.towards(wanted, pod, report, memory, situation.profiling)
    stands = replace(stands, unattainable=objective.unattainable(memory, policy.objective))
    if pushing.is_due(memory, report, wanted, now):
        return EngineRound(stands, (documents.push(wanted, pod, policy),), pushing.sent(memory, report, wanted, now))
    memory, pushes = _probe(situation, memory, wanted)
    return EngineRound(stands, pushes, memory)


def _wanted(situation: EngineSituation, memory: EngineMemory) -> tuple[Document | None, EngineMemory]:
    """The document the engine should have in force; None where it had better keep what it has."""
    policy, report, allowed = situation.policy, situation.report, situation.allowed
    if len(standing.allowed_draft_tokens(policy, report)) == 1:
        return documents.pinned_document(policy, allowed[0]), memory
    applied = documents.read_id(report.applied_id)
    if situation.profile is not None and situation.latency is not None:
        if policy.loop is EngineLoopMode.LOCAL:
            base = documents.local_base(policy, allowed, situation.profile.digest)
            if _keeps_its_own(situation, applied, base, memory):
                return None, memory
            memory = replace(memory, stand_in=situation.profile.stands_in)
            return documents.local_document(base, allowed, situation.latency, _prior_code(situation, base)), memory
        # A table from an earlier operator is better than one from the pool: evidence of its own comes within seconds.
        pool = () if applied.kind is DocumentKind.TABLE else situation.pool
        known = table_mode.estimates(memory, report, pool)
        choice = table_mode.choose_table(situation.latency, known, allowed, report, memory, objective=policy.objective)
        if choice is not None:
            memory = replace(memory, table=choice.table, unattainable_batches=choice.unattainable)
            return documents.table_document(policy, allowed, choice.table), memory
    # What has a latency model behind it is never replaced by what has none.
    replaceable = report.applied_id is None or applied.kind in (DocumentKind.WAITING, DocumentKind.PINNED)
    return (documents.waiting_document(policy, allowed) if replaceable else None), memory


def _keeps_its_own(
    situation: EngineSituation, applied: documents.AppliedDocument, base: str, memory: EngineMemory
) -> bool:
    """Whether the model in force is the engine's own, of a profile that is gone: nearer than what stands in for it.

    Only while a Job may measure it anew. A document of a stand-in is known by its base, whatever was forgotten.
    """
    stands_in = situation.profile is not None and situation.profile.stands_in
    measured_anew = situation.policy.profile_source is ProfileSource.JOB
    own = applied.kind is DocumentKind.LOCAL and applied.base != base and not memory.stand_in
    return stands_in and measured_anew and own


def _prior_code(situation: EngineSituation, base: str) -> str:
    """A mature engine keeps the prior it was given; others get the pool's, unless theirs is near enough."""
    applied = documents.read_id(situation.report.applied_id)
    if applied.base == base and is_mature(situation.report):
        return applied.prior_code
    given = applied.prior_code if applied.kind is DocumentKind.LOCAL else ""
    return prior_code(tuple(situation.pool), given)


def _probe(
    situation: EngineSituation, memory: EngineMemory, wanted: Document | None
) -> tuple[EngineMemory, tuple[PushControl, ...]]:
    """A probe where one is due: under our own tables only, because the engine loop does its own."""
    policy, report, now = situation.policy, situation.report, situation.now_seconds
    if policy.loop is not EngineLoopMode.TABLE or len(situation.allowed) < 2 or situation.latency is None:
        return memory, ()
    settled = pushing.in_force(memory, report, wanted) if wanted is not None else report.applied_id is not None
    if pushing.overlay_in_force(report) or not settled:
        return memory, ()
    known = table_mode.estimates(memory, report, situation.pool)
    probe = table_mode.choose_probe(
        situation.latency,
        known,
        situation.allowed,
        report=report,
        memory=memory,
        now_seconds=now,
        objective=policy.objective,
    )
    if probe is None:
        return memory, ()
    document = documents.probe_document(policy, situation.allowed, probe.table, table_mode.PROBE_TTL_SECONDS, now)
    return table_mode.probed(memory, probe, now), (documents.push(document, situation.pod, policy),)
