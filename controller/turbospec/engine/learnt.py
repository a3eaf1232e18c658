"""What the engine loop has learnt of text and step times, kept across restarts beside the control document."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turbospec.engine.environment import logger
from turbospec.engine.runtime import EngineRuntime
from turbospec.engine.state_file import StateFile

SAVE_SECONDS = 30.0
"""What a killed engine loses at most. Acceptance is relearnt in about as long."""

MAX_AGE_SECONDS = 3600.0
"""A container restarts within minutes; text and machine of more than an hour ago are somebody else's."""

CLOCK_SLACK_SECONDS = 60.0
"""A file from the future was written before the clock was set back: how old it is nobody knows."""

MAX_BYTES = 262144
"""Five times what a maximum K of 15 needs (50 KB)."""

_SPOILT = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading a file of another shape can raise."""


class LearntStore:
    """Saves and restores through one file. Call it from one thread at a time, and never from the engine's."""

    def __init__(
        self,
        path: Path,
        runtime: EngineRuntime,
        *,
        document_id: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``document_id`` names the control document in force; step times are corrections of its latency model."""
        self._file = StateFile(path, "what was learnt", MAX_BYTES)
        self._runtime = runtime
        self._document_id = document_id
        self._clock, self._wall_clock = clock, wall_clock
        self._saved_at = clock()
        self._saved_steps = runtime.telemetry.totals.steps

    def save_if_due(self) -> None:
        """Saves where the last time is SAVE_SECONDS ago."""
        if self._clock() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Writes the file, where anything has happened since the last time. A full disk costs one line in the log."""
        self._saved_at = self._clock()
        if self._runtime.failed:
            self._file.remove()  # what was learnt may be what the loop failed on: not again after a restart
            return
        steps, document = self._runtime.telemetry.totals.steps, self._document_id()
        if steps == self._saved_steps:
            return
        learnt = self._runtime.save()
        if learnt is None or self._document_id() != document:  # between two documents: the next time will do
            return
        body = json.dumps({**self._engine(), "document": document, "saved": self._wall_clock(), "learnt": learnt})
        if self._file.write(_seal(body.encode())):
            self._saved_steps = steps

    def restore(self) -> None:
        """Takes up what the process before this one had learnt; call it once its control document is in force.

        A file that is spoilt, another engine's or old is ignored with a line in the log.
        """
        sealed = self._file.read()
        if sealed is None:
            return
        try:
            content = json.loads(_unseal(sealed))
            age = self._wall_clock() - float(content["saved"])
            reason = self._unfit(content, age)
            if reason is not None:
                self._file.ignore(reason)
                return
            learnt = dict(content["learnt"])
            if content["document"] != self._document_id():
                learnt["bias"] = None  # corrections of another latency model
            self._runtime.restore(learnt)
        except _SPOILT as error:
            self._file.ignore(f"it is spoilt ({type(error).__name__}: {str(error)[:200]})")
            return
        logger.info("took up what was learnt %.0f s ago, before the restart", age)

    def _engine(self) -> dict[str, Any]:
        """What must be equal for one engine to go on from what another has learnt."""
        facts = self._runtime.facts
        return {
            "runtimeVersion": facts.info.runtime_version,
            "profileKey": facts.identity.key(),
            "allowedDraftTokens": list(facts.limits.allowed_draft_tokens),
            "maxDraftTokens": facts.limits.max_draft_tokens,
        }

    def _unfit(self, content: dict[str, Any], age: float) -> str | None:
        for name, ours in self._engine().items():
            if content[name] != ours:
                return f"{name} was {content[name]!r}, is {ours!r}"
        if not -CLOCK_SLACK_SECONDS <= age <= MAX_AGE_SECONDS:
            return f"it was written {age:.0f} s ago, at most {MAX_AGE_SECONDS:.0f} s are bridged"
        return None


def _seal(body: bytes) -> bytes:
    """With its checksum in front: a half-written or damaged file must not reach the estimators."""
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unseal(sealed: bytes) -> bytes:
    digest, _, body = sealed.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("checksum does not match")
    return body
