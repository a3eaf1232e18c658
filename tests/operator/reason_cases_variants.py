"""The same for reasons about how pods are started."""

from typing import Any

from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.reason_fleet import Fleet, gives
from tests.operator.samples import IDENTITY, engine_pod
from turbospec_operator.cluster import PODS

PLAIN: dict[str, Any] = {
    "unsupported": {"code": "NoSpeculation", "message": "started without --speculative-config"},
    "limits": {
        "maxNumSeqs": 16,
        "maxNumBatchedTokens": 2048,
        "maxModelLen": 2048,
        "maxDraftTokens": 0,
        "allowedDraftTokens": [0],
        "kvCacheTokens": 120_000,
    },
    "table": [{"fromBatch": 1, "toBatch": 16, "draftTokens": 0}],
    "acceptance": [],
}
"""What an engine without a drafter says of itself."""
PLAIN_IDENTITY = IDENTITY.model_copy(update={"method": "none", "drafter": "none"})


async def plain_engine(fleet: Fleet, name: str, **metadata: Any) -> EngineStandIn:
    """A Ready pod that was started without a drafter."""
    engine = await fleet.engine(name, identity=PLAIN_IDENTITY, **metadata)
    engine.more = PLAIN
    return engine


@gives("VariantDecided", "StartedPlain")
async def pods_are_started_plain(fleet: Fleet) -> None:
    await plain_engine(fleet, "chat-1")
    await fleet.policy(autoscaling={"startupVariant": "Plain"})
    await fleet.rounds(2)


@gives("VariantRefused", "WorthUnknown")
async def a_template_decides(fleet: Fleet) -> None:
    pod = engine_pod(fleet.namespace, "chat-1")
    pod["metadata"]["annotations"] |= {
        "turbospec.io/startup-variant": "Refused",
        "turbospec.io/speculation": "not added: the pod's own --speculative-config stands",
    }
    await fleet.policy(autoscaling={"startupVariant": "Auto"})
    await fleet.engine("chat-0")
    await fleet.rounds(1)
    await fleet.admin.create(PODS, fleet.namespace, pod)
    await fleet.rounds(1)
