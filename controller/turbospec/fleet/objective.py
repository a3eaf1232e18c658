"""Whether engines find a K that meets the policy's objective: what they say of it, steadied."""

from dataclasses import replace

from turbospec.control.objective import Objective
from turbospec.fleet.documents import DocumentKind
from turbospec.fleet.memory import EngineMemory, ObjectiveVerdict
from turbospec.fleet.snapshot import EngineReport

SETTLE_SECONDS = 30.0
"""How long an engine must say the contrary before that holds: load near a ceiling passes it with every few requests,
and a condition that flaps tells nobody anything."""


def judge(
    memory: EngineMemory, report: EngineReport, objective: Objective, in_force: DocumentKind | None, now_seconds: float
) -> EngineMemory:
    """The memory with what is known of this objective; ``in_force`` is the kind of the document that carries it.

    The first word holds at once, so that an operator that restarts finds what it knew. Silence (a probe, an engine that
    has served nothing, a document on its way) is no news. A verdict on another objective is dropped.
    """
    if objective.empty:
        return replace(memory, verdict=None)
    known = memory.verdict
    if known is None or known.objective != objective:
        known = ObjectiveVerdict(objective)
    said = _said(memory, report, in_force)
    if said is None:
        return replace(memory, verdict=known)
    since = known.since_seconds if said is known.said else now_seconds
    settled = known.unattainable is None or now_seconds - since >= SETTLE_SECONDS
    return replace(memory, verdict=ObjectiveVerdict(objective, said if settled else known.unattainable, said, since))


def unattainable(memory: EngineMemory | None, objective: Objective) -> bool | None:
    """What holds of this objective; None while it is not known."""
    if memory is None or memory.verdict is None or memory.verdict.objective != objective:
        return None
    return memory.verdict.unattainable


def _said(memory: EngineMemory, report: EngineReport, in_force: DocumentKind | None) -> bool | None:
    """The engine loop's own word, or that of the operator's table where that decides."""
    if in_force is DocumentKind.TABLE:
        return None if report.decodes == 0 else report.decodes in memory.unattainable_batches
    return report.unattainable if in_force in (DocumentKind.LOCAL, DocumentKind.WAITING) else None
