"""Control documents: what an engine is told, and the id that names exactly that content.

An id is ``<kind>-<digest>`` or, with a prior, ``<kind>-<digest>-<prior code>``. The kind tells an operator that has
just restarted what an engine has in force, so that a document without a latency model never replaces one that has it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from turbospec.control.latency import LatencyModel
from turbospec.fleet.effects import EngineAddress, PriorPosition, PushControl, TableRange
from turbospec.fleet.prior import decode_prior
from turbospec.fleet.snapshot import PodView, PolicyView

MAX_BATCH = 65536
"""The wire's bound on batches: the last row of a table may reach this far."""


class DocumentKind(StrEnum):
    """What a document asks of the engine."""

    WAITING = "waiting"
    """Engine loop without a profile: the start-up table first, then by step times that the engine learns itself."""
    PINNED = "pinned"
    """One K at every batch: needs no profile."""
    LOCAL = "local"
    """Engine loop with a latency model."""
    TABLE = "table"
    """Exactly the table that the operator computed."""
    PROBE = "probe"
    """A table for a moment, to learn what drafts would be worth."""


@dataclass(frozen=True, slots=True)
class Document:
    """One instruction to an engine, without the envelope that the push adds (epoch, policy, objective)."""

    id: str
    kind: DocumentKind
    allowed: tuple[int, ...]
    table: tuple[TableRange, ...] | None = None
    latency: LatencyModel | None = None
    prior: tuple[PriorPosition, ...] = ()
    reason: str = ""
    ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class AppliedDocument:
    """What an applied id says of the document. ``kind`` is None for ids that are none of ours."""

    kind: DocumentKind | None
    base: str
    prior_code: str


def read_id(applied_id: str | None) -> AppliedDocument:
    """Take an id apart; never fails."""
    parts = (applied_id or "").split("-", 2)
    if len(parts) < 2 or parts[0] not in set(DocumentKind):
        return AppliedDocument(None, applied_id or "", "")
    return AppliedDocument(DocumentKind(parts[0]), f"{parts[0]}-{parts[1]}", parts[2] if len(parts) > 2 else "")


def waiting_document(policy: PolicyView, allowed: tuple[int, ...]) -> Document:
    """Before there is a profile: only the allowed set."""
    reason = "no profile yet: the engine learns its step times while serving"
    return Document(_base_id(DocumentKind.WAITING, policy, allowed), DocumentKind.WAITING, allowed, reason=reason)


def pinned_document(policy: PolicyView, draft_tokens: int) -> Document:
    """Exactly this K."""
    allowed, table = (draft_tokens,), (TableRange(1, MAX_BATCH, draft_tokens),)
    identifier = _base_id(DocumentKind.PINNED, policy, allowed, table=table)
    return Document(identifier, DocumentKind.PINNED, allowed, table, reason=f"the policy allows K={draft_tokens} only")


def local_base(policy: PolicyView, allowed: tuple[int, ...], model_digest: str) -> str:
    """The id of the engine-loop document without its prior."""
    return _base_id(DocumentKind.LOCAL, policy, allowed, model=model_digest)


def local_document(base: str, allowed: tuple[int, ...], latency: LatencyModel, prior_code: str) -> Document:
    """The engine loop with this model and prior; ``base`` comes from ``local_base``."""
    identifier = f"{base}-{prior_code}" if prior_code else base
    reason = "the engine loop decides K from its profile"
    return Document(
        identifier, DocumentKind.LOCAL, allowed, latency=latency, prior=decode_prior(prior_code), reason=reason
    )


def table_document(policy: PolicyView, allowed: tuple[int, ...], table: tuple[TableRange, ...]) -> Document:
    """Exactly this table."""
    identifier = _base_id(DocumentKind.TABLE, policy, allowed, table=table)
    return Document(identifier, DocumentKind.TABLE, allowed, table, reason="table of highest predicted goodput")


def probe_document(
    policy: PolicyView, allowed: tuple[int, ...], table: tuple[TableRange, ...], ttl_seconds: float, now_seconds: float
) -> Document:
    """This table for a moment. A probe is an act at a time, so its id holds the time: the next is another document."""
    base = _base_id(DocumentKind.PROBE, policy, allowed, table=table)
    reason = "probe: the acceptance behind the table is out of date"
    return Document(
        f"{base}-{int(now_seconds)}", DocumentKind.PROBE, allowed, table, reason=reason, ttl_seconds=ttl_seconds
    )


def push(document: Document, pod: PodView, policy: PolicyView) -> PushControl:
    """The effect that puts this document to the engine in this pod."""
    return PushControl(
        engine=EngineAddress(pod.namespace, pod.name, pod.uid),
        document_id=document.id,
        policy_namespace=policy.namespace,
        policy_name=policy.name,
        policy_generation=policy.generation,
        table=document.table,
        allowed_draft_tokens=document.allowed,
        latency=document.latency,
        prior=document.prior,
        reason=document.reason,
        ttl_seconds=document.ttl_seconds,
        objective=policy.objective,
    )


def _base_id(
    kind: DocumentKind,
    policy: PolicyView,
    allowed: tuple[int, ...],
    *,
    table: tuple[TableRange, ...] | None = None,
    model: str = "",
) -> str:
    """Digest of what the engine acts on; without the policy's generation: an edit that changes nothing is no news."""
    rows = [[row.from_batch, row.to_batch, row.draft_tokens] for row in table or ()]
    content: list[object] = [policy.namespace, policy.name, allowed, rows, model]
    if not policy.objective.empty:
        content.append(asdict(policy.objective))
    return f"{kind.value}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]}"
