"""Control documents: from bytes to settings of the engine loop, and to disk and back."""

import json
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from turbospec.control.acceptance import Prior
from turbospec.control.engine_loop import LoopLimits, LoopSettings
from turbospec.control.latency import LatencyModel
from turbospec.engine.refusals import RequestRefusedError
from turbospec.engine.state_file import StateFile
from turbospec.wire.control_document import (
    CONTROL_VERSION,
    MAX_BODY_BYTES,
    ControlDocument,
    ControlMode,
    TableRow,
)
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.objective import to_objective


def parse_document(body: bytes) -> ControlDocument:
    """Raises RequestRefusedError with BadJson, UnknownVersion or Invalid; the message names the first field
    that is wrong."""
    try:
        content = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError("BadJson", f"the body is not JSON: {str(error) or 'nested too deeply'}") from error
    if not isinstance(content, dict):
        raise RequestRefusedError("Invalid", f"the body is a JSON {type(content).__name__}, expected an object")
    version = content.get("version", CONTROL_VERSION)
    if isinstance(version, int) and version > CONTROL_VERSION:
        raise RequestRefusedError(
            "UnknownVersion", f"version {version} is newer than this engine reads: send version {CONTROL_VERSION}"
        )
    try:
        # From the bytes again, because only there a strict reading takes a mode's name for a mode.
        return ControlDocument.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise RequestRefusedError("Invalid", f"{where}: {first['msg']}") from error


def loop_settings(document: ControlDocument, limits: LoopLimits) -> LoopSettings:
    """Raises RequestRefusedError with NotAllowed where a K is outside what this engine may run, Invalid for
    bad cells."""
    outside = sorted(set(document.allowed_draft_tokens) - set(limits.engine_allowed))
    if outside:
        raise RequestRefusedError(
            "NotAllowed",
            f"allowedDraftTokens {outside} cannot be run by this engine: it allows {sorted(limits.engine_allowed)} "
            "(see limits.allowedDraftTokens of GET /v1/state)",
        )
    try:
        latency = _latency_model(document.latency) if document.latency is not None else None
    except ValueError as error:
        raise RequestRefusedError("Invalid", f"latency: {error}") from error
    table = document.mode is ControlMode.TABLE
    return LoopSettings(
        mode="table" if table else "local",
        allowed=tuple(document.allowed_draft_tokens),
        table=dense_table(document.table or [], limits.max_num_seqs) if table else None,
        latency=latency,
        objective=to_objective(document.objective),
        prior=tuple(Prior(acceptance=p.acceptance, samples=p.samples) for p in document.acceptance_prior or ()),
    )


class _Newest:
    """The latency model last made in this process: most documents bring the profile of the one before, and to make it
    again takes the interpreter from the engine for milliseconds."""

    made: tuple[LatencyDocument, LatencyModel] | None = None


def _latency_model(document: LatencyDocument) -> LatencyModel:
    made = _Newest.made
    if made is not None and made[0] == document:
        return made[1]
    model = to_model(document)
    _Newest.made = (document, model)
    return model


def dense_table(rows: list[TableRow], max_num_seqs: int) -> tuple[int, ...]:
    """K by batch, index 0 unused; above the last row its K goes on, as in vLLM's own table."""
    dense = [0] * (max_num_seqs + 1)
    for row in rows:
        first, last = row.from_batch, min(row.to_batch, max_num_seqs)
        dense[first : last + 1] = [row.draft_tokens] * max(0, last + 1 - first)
    end = rows[-1].to_batch if rows else max_num_seqs
    if end < max_num_seqs:
        dense[end + 1 :] = [rows[-1].draft_tokens] * (max_num_seqs - end)
    return tuple(dense)


def table_rows(dense: tuple[int, ...]) -> list[TableRow]:
    """The shortest list of rows that says the same as ``dense``."""
    rows: list[TableRow] = []
    start = 1
    for batch in range(2, len(dense) + 1):
        if batch == len(dense) or dense[batch] != dense[start]:
            rows.append(TableRow(from_batch=start, to_batch=batch - 1, draft_tokens=dense[start]))
            start = batch
    return rows


class DocumentStore:
    """Keeps the last good document in one file. A disk that is full or read-only costs the resumption, nothing else."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, "the control document", 2 * MAX_BODY_BYTES)  # spelt out it may be longer

    def save(self, document: ControlDocument) -> None:
        """Atomic: a reader finds the old document or the new one."""
        self._file.write(document.model_dump_json(by_alias=True, exclude_none=True).encode())

    def load(self) -> ControlDocument | None:
        """None where there is nothing this process wrote and can read."""
        body = self._file.read()
        if body is None:
            return None
        try:
            return parse_document(body)
        except RequestRefusedError as refusal:
            self._file.ignore(refusal.message)
            return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number JSON knows")
