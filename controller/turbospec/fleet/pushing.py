"""When a document is put to an engine: when it is news to the engine, and as a heartbeat."""

from dataclasses import replace

from turbospec.fleet.documents import Document, DocumentKind, read_id
from turbospec.fleet.memory import EngineMemory
from turbospec.fleet.snapshot import EngineReport

HEARTBEAT_SECONDS = 20.0
"""A third of the 60 s after which an engine lets a lower epoch in: two heartbeats may be lost."""

FIRST_RETRY_SECONDS = 4.0
"""A document that has not taken effect is put again after this, then after twice as long, up to the heartbeat."""

OVERLAY_PATIENCE_SECONDS = 10.0
"""How long an overlay may stand in the way of a document that is not in force; our own last about 2 s."""


def overlay_in_force(report: EngineReport) -> bool:
    """Whether the engine runs a document with a time to live at the moment."""
    return report.applied_overlay or read_id(report.applied_id).kind is DocumentKind.PROBE


def in_force(memory: EngineMemory, report: EngineReport, document: Document) -> bool:
    """Whether the engine runs this document, or has it under an overlay."""
    return report.applied_id == document.id or (
        overlay_in_force(report) and memory.sent_id == document.id and memory.sent_tries == 0
    )


def acknowledged(memory: EngineMemory, report: EngineReport, document: Document, now_seconds: float) -> EngineMemory:
    """The memory once the engine runs the document. Where an earlier operator sent it, the heartbeat starts now."""
    if report.applied_id != document.id:
        return memory
    if memory.sent_id == document.id:
        return replace(memory, sent_tries=0)
    return replace(memory, sent_id=document.id, sent_seconds=now_seconds, sent_tries=0)


def is_due(memory: EngineMemory, report: EngineReport, document: Document, now_seconds: float) -> bool:
    """Whether to put the document now. ``memory`` is what ``acknowledged`` returned for it."""
    waited = now_seconds - memory.sent_seconds
    if in_force(memory, report, document):
        # A document put under an overlay may end it; the overlay itself was a sign of life.
        return waited >= HEARTBEAT_SECONDS + (OVERLAY_PATIENCE_SECONDS if overlay_in_force(report) else 0.0)
    if memory.sent_id != document.id:
        started = max(memory.first_seen_seconds, memory.probed_seconds or 0.0)
        restarted_under_overlay = memory.sent_id is None and overlay_in_force(report)
        return not restarted_under_overlay or now_seconds - started >= OVERLAY_PATIENCE_SECONDS
    pause = FIRST_RETRY_SECONDS * 2 ** (memory.sent_tries - 1) if memory.sent_tries > 0 else 0.0
    return waited >= min(pause, HEARTBEAT_SECONDS)


def sent(memory: EngineMemory, report: EngineReport, document: Document, now_seconds: float) -> EngineMemory:
    """The memory after the document was put."""
    tries = 0 if in_force(memory, report, document) else memory.sent_tries + 1 if memory.sent_id == document.id else 1
    return replace(memory, sent_id=document.id, sent_seconds=now_seconds, sent_tries=tries)
