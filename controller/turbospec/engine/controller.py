"""Which control document is in force: fencing by epoch, overlays with a time to live, resumption after a restart."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from turbospec.control.engine_loop import LoopLimits, LoopSettings
from turbospec.engine.documents import DocumentStore, loop_settings
from turbospec.engine.environment import logger
from turbospec.engine.refusals import RequestRefusedError
from turbospec.wire.control_document import ControlAnswer, ControlDocument
from turbospec.wire.engine_state import AppliedControl, Unsupported

FENCE_SECONDS = 60.0
"""An operator silent for this long (several of its lease times) has lost its claim: any epoch is accepted again."""


@dataclass(slots=True)
class _Held:
    """A document that was accepted. ``deadline`` (monotonic seconds) is set for overlays."""

    document: ControlDocument
    settings: LoopSettings
    step: int
    deadline: float | None = None


class DocumentController:
    """Accepts or refuses documents and has exactly one in force. Any thread may call; calls are serialised.

    ``apply`` configures the engine loop (may raise ValueError, having changed nothing); ``next_step`` is the
    sequence number
    of the next step to be scheduled, read after ``apply``, so that step and all later ones are decided with
    the document.
    """

    def __init__(
        self,
        limits: LoopLimits,
        *,
        apply: Callable[[LoopSettings], None],
        next_step: Callable[[], int],
        unsupported: Callable[[], Unsupported | None],
        clock: Callable[[], float],
        store: DocumentStore | None,
    ) -> None:
        self._limits = limits
        self._apply = apply
        self._next_step = next_step
        self._unsupported = unsupported
        self._clock = clock
        self._store = store
        self._lock = threading.Lock()
        self._base: _Held | None = None
        self._overlay: _Held | None = None
        self._epoch = 0
        self._accepted_at: float | None = None
        self._before_any = LoopSettings(mode="local", allowed=limits.engine_allowed, table=None, latency=None, prior=())
        self.applied_count = 0
        self.refused_count = 0

    def put(self, document: ControlDocument) -> ControlAnswer:
        """Puts the document in force. Raises RequestRefusedError, and then the document before it still is."""
        with self._lock:
            now = self._clock()
            self._expire(now)
            reason = self._unsupported()
            if reason is not None:
                raise RequestRefusedError("Unsupported", f"{reason.code}: {reason.message}")
            self._fence(document, now)
            held = self._base if document.ttl_seconds is None else self._overlay
            if held is not None and held.document.id == document.id:
                answer = ControlAnswer(id=document.id, step=held.step, changed=False)
                if document.ttl_seconds is not None:
                    held.deadline = now + document.ttl_seconds
            else:
                answer = self._install(document, loop_settings(document, self._limits), now)
                self.applied_count += 1
            self._epoch, self._accepted_at = document.epoch, now
            return answer

    def refused(self) -> None:
        """Counts a document that was refused here or before it got here."""
        with self._lock:
            self.refused_count += 1

    def resume(self) -> None:
        """Takes up the document of the process before this one. It has no authority: any PUT replaces it,
        whatever its epoch."""
        document = self._store.load() if self._store is not None else None
        if document is None or document.ttl_seconds is not None:
            return
        with self._lock:
            try:
                self._install(document, loop_settings(document, self._limits), self._clock())
            except RequestRefusedError as refusal:
                logger.warning("the control document of the last start is not resumed: %s", refusal.message)
                return
        logger.info("resumed control document %s of the last start", document.id)

    def tick(self) -> None:
        """Ends overlays whose time is up; called about once a second and before answers."""
        with self._lock:
            self._expire(self._clock())

    def applied(self) -> AppliedControl | None:
        """What is in force; None means the engine's start-up table."""
        with self._lock:
            held = self._overlay or self._base
            if held is None:
                return None
            document = held.document
            return AppliedControl(
                id=document.id,
                epoch=self._epoch if self._accepted_at is not None else document.epoch,
                mode=document.mode.value,
                step=held.step,
                overlay=held.deadline is not None,
                policy=document.policy,
            )

    def document_id(self) -> str | None:
        """The document in force; None means the engine's start-up table."""
        held = self._overlay or self._base
        return held.document.id if held is not None else None

    def settings(self) -> LoopSettings:
        """What the engine loop runs with."""
        held = self._overlay or self._base
        return held.settings if held is not None else self._before_any

    def _fence(self, document: ControlDocument, now: float) -> None:
        if self._accepted_at is None or now - self._accepted_at >= FENCE_SECONDS or document.epoch >= self._epoch:
            return
        raise RequestRefusedError(
            "StaleEpoch",
            f"epoch {document.epoch} is older than {self._epoch}, heard {now - self._accepted_at:.0f} s "
            f"ago; it is accepted after {FENCE_SECONDS:.0f} s of silence",
        )

    def _install(self, document: ControlDocument, settings: LoopSettings, now: float) -> ControlAnswer:
        overlay = document.ttl_seconds is not None
        if overlay or self._overlay is None:  # under an overlay a new base document waits for its turn
            try:
                self._apply(settings)
            except ValueError as error:
                raise RequestRefusedError("Invalid", str(error)) from error
        held = _Held(document, settings, self._next_step())
        if document.ttl_seconds is not None:
            held.deadline = now + document.ttl_seconds
            self._overlay = held
        else:
            self._base = held
            if self._store is not None:
                self._store.save(document)
        logger.info(
            "control document %s (epoch %d, %s) is in force: %s",
            document.id,
            document.epoch,
            document.mode,
            document.reason,
        )
        return ControlAnswer(id=document.id, step=held.step, changed=True)

    def _expire(self, now: float) -> None:
        overlay = self._overlay
        if overlay is None or overlay.deadline is None or now < overlay.deadline:
            return
        self._overlay = None
        self._apply(self._base.settings if self._base is not None else self._before_any)
        if self._base is not None:
            self._base.step = self._next_step()
        logger.info("control document %s has had its time", overlay.document.id)
