"""Control documents as engines read them. Pure."""

from turbospec.fleet.effects import PushControl
from turbospec.wire.control_document import AcceptancePrior, ControlDocument, ControlMode, PolicyReference, TableRow
from turbospec.wire.latency import from_model
from turbospec.wire.objective import from_objective


def control_document(effect: PushControl, epoch: int) -> ControlDocument:
    """The document as engines read it."""
    table = effect.table
    return ControlDocument(
        id=effect.document_id,
        epoch=epoch,
        mode=ControlMode.LOCAL if table is None else ControlMode.TABLE,
        allowed_draft_tokens=sorted(set(effect.allowed_draft_tokens)),
        table=None
        if table is None
        else [TableRow(from_batch=r.from_batch, to_batch=r.to_batch, draft_tokens=r.draft_tokens) for r in table],
        latency=None if effect.latency is None else from_model(effect.latency),
        objective=from_objective(effect.objective),
        acceptance_prior=[AcceptancePrior(acceptance=p.acceptance, samples=p.samples) for p in effect.prior] or None,
        policy=PolicyReference(
            namespace=effect.policy_namespace, name=effect.policy_name, generation=effect.policy_generation
        ),
        reason=effect.reason,
        ttl_seconds=effect.ttl_seconds,
    )
