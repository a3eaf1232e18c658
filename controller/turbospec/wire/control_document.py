"""The control document: what the operator tells an engine (PUT /v1/control)."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from turbospec.wire.base import WireModel
from turbospec.wire.latency import LatencyDocument
from turbospec.wire.objective import ObjectiveDocument

CONTROL_VERSION = 1
MAX_BODY_BYTES = 65536
"""Bodies above this are refused before they are parsed: parsing holds the GIL of a serving engine."""

DraftTokens = Annotated[int, Field(ge=0, le=64)]


class ControlMode(StrEnum):
    """Who decides K: the engine loop on every step, or exactly the table of the document."""

    LOCAL = "local"
    TABLE = "table"


class TableRow(WireModel):
    """K for batches ``from_batch`` to ``to_batch``, both included."""

    from_batch: Annotated[int, Field(ge=1, le=65536)]
    to_batch: Annotated[int, Field(ge=1, le=65536)]
    draft_tokens: DraftTokens


class AcceptancePrior(WireModel):
    """What other engines have learnt of one draft position; ``samples`` is the weight it deserves."""

    acceptance: Annotated[float, Field(ge=0, le=1)]
    samples: Annotated[float, Field(ge=0, le=1e9)]


class PolicyReference(WireModel):
    """The policy a document carries out."""

    namespace: Annotated[str, Field(max_length=63)]
    name: Annotated[str, Field(max_length=253)]
    generation: Annotated[int, Field(ge=0)] = 0


class ControlDocument(WireModel):
    """One complete instruction; applying it twice is applying it once.

    A document with ``ttl_seconds`` is an overlay: when the time is up the last document without one is in force again.
    """

    version: Annotated[int, Field(ge=1)] = CONTROL_VERSION
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    epoch: Annotated[int, Field(ge=0, lt=2**63)]
    mode: ControlMode
    allowed_draft_tokens: Annotated[list[DraftTokens], Field(min_length=1, max_length=65)]
    table: Annotated[list[TableRow], Field(max_length=1024)] | None = None
    latency: LatencyDocument | None = None
    objective: ObjectiveDocument | None = None
    acceptance_prior: Annotated[list[AcceptancePrior], Field(max_length=64)] | None = None
    policy: PolicyReference | None = None
    reason: Annotated[str, Field(max_length=1024)] = ""
    ttl_seconds: Annotated[float, Field(gt=0, le=3600)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sorted(set(self.allowed_draft_tokens)) != self.allowed_draft_tokens:
            raise ValueError("allowedDraftTokens must be sorted and free of repeats")
        if self.mode is ControlMode.TABLE:
            _check_table(self.table, set(self.allowed_draft_tokens))
        elif self.table is not None:
            raise ValueError("table is only allowed with mode 'table'")
        return self


def _check_table(table: list[TableRow] | None, allowed: set[int]) -> None:
    """A table starts at batch 1 and has neither gaps nor overlaps nor a K outside the allowed set."""
    if not table:
        raise ValueError("mode 'table' needs at least one table row")
    expected = 1
    for row in table:
        if row.from_batch != expected:
            raise ValueError(f"table row starts at batch {row.from_batch}, expected {expected}: no gaps, no overlaps")
        if row.to_batch < row.from_batch:
            raise ValueError(f"table row ends at batch {row.to_batch}, before its start {row.from_batch}")
        if row.draft_tokens not in allowed:
            raise ValueError(f"table row has draftTokens {row.draft_tokens}, which is not in allowedDraftTokens")
        expected = row.to_batch + 1


class ControlAnswer(WireModel):
    """What an engine answers to a document it accepted: every step from ``step`` on decides with it."""

    id: str
    step: int
    changed: bool


class ControlRefusal(WireModel):
    """Why a document was refused; the last good one stays in force."""

    code: str
    message: str
