"""The second of two operators: ready to take over, and doing nothing until then."""

from pathlib import Path

import pytest

from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.samples import policy
from turbospec_operator.cluster import POLICIES, Cluster

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]


async def test_a_standby_is_ready_and_takes_over_with_a_later_epoch(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess, tmp_path: Path
) -> None:
    """One leads, both are ready; when the leader is killed the other one governs, and engines follow it."""
    first = operator_process
    first.environment["TURBOSPEC_LEASE_SECONDS"] = "4"
    second = OperatorProcess({**first.environment, "TURBOSPEC_IDENTITY": "operator-1"}, tmp_path / "second.log")
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))
        first.start()

        async def controlled() -> bool:
            return bool(engine.documents)

        await eventually("a document", controlled, first)
        second.start()
        try:

            async def ready() -> bool:
                return second.get("/readyz") == (200, "ok\n")

            await eventually("a ready standby", ready, second)
            assert "turbospec_operator_leader 0.0" in second.get("/metrics")[1]
            assert "turbospec_operator_leader 1.0" in first.get("/metrics")[1]
            assert {document.epoch for document in engine.documents} == {1}
            first.kill()

            async def leads() -> bool:
                return "turbospec_operator_leader 1.0" in second.get("/metrics")[1]

            await eventually("another leader", leads, second)

            async def followed() -> bool:
                return engine.documents[-1].epoch == 2

            await eventually("a document of the second one", followed, second)
        finally:
            second.kill()
