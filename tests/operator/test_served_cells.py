"""Engines are asked for the step times of their own traffic: only where they are wanted, seldom, and never for long."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.fleet.builders import KEY as UNIT_KEY
from tests.fleet.builders import pod, policy, report
from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.samples import KEY, cells_answer
from tests.operator.samples import policy as policy_manifest
from turbospec.fleet.snapshot import PodView, ProfileSource
from turbospec_operator import served_cells
from turbospec_operator.cluster import POLICIES, Cluster
from turbospec_operator.engines import EngineClient, EngineEndpoint
from turbospec_operator.served_cells import ServedCellsReader

SERVING = policy(profile_source=ProfileSource.SERVING)


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    async with EngineClient() as opened:
        yield opened


def endpoints(pods: list[PodView], engine: EngineStandIn) -> dict[str, EngineEndpoint]:
    return {one.uid: EngineEndpoint("127.0.0.1", engine.port, "right") for one in pods}


async def test_engines_are_asked_where_a_policy_wants_it_and_once_a_minute(client: EngineClient) -> None:
    """Not for other sources, other pods, or policies that cannot be read."""
    async with EngineStandIn("right") as engine:
        engine.cells = cells_answer()
        reader, pods = ServedCellsReader(client), [pod("chat-0"), pod("code-0", labels=(("app", "code"),))]
        for other in (policy(), replace(SERVING, invalid="bad"), replace(SERVING, namespace="other")):
            assert await reader.read(pods, [other], endpoints(pods, engine)) == {}
        assert engine.cells_asked == 0
        for _ in range(5):
            found = await reader.read(pods, [SERVING], endpoints(pods, engine))
            assert list(found) == ["pod-chat-0"]
            assert len(found["pod-chat-0"]) == 10
        assert engine.cells_asked == 1


async def test_engines_whose_job_is_forbidden_are_asked_under_source_job(client: EngineClient) -> None:
    """Of that key in that namespace, and for no policy that wants nothing measured."""
    existing = policy(profile_source=ProfileSource.EXISTING)
    async with EngineStandIn("right") as engine:
        engine.cells = cells_answer()
        reader, pods = ServedCellsReader(client), [pod("chat-0")]
        for source, forbidden in ((policy(), {("other", UNIT_KEY)}), (existing, {("team", UNIT_KEY)})):
            assert await reader.read(pods, [source], endpoints(pods, engine), forbidden) == {}
        found = await reader.read(pods, [policy()], endpoints(pods, engine), {("team", UNIT_KEY)})
        assert len(found["pod-chat-0"]) == 10


async def test_an_engine_that_does_not_answer_keeps_its_cells(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is gone is forgotten."""
    monkeypatch.setattr(served_cells, "CELLS_SECONDS", 0.0)
    async with EngineStandIn("right") as engine:
        engine.cells = cells_answer()
        reader, pods = ServedCellsReader(client), [pod("chat-0")]
        first = await reader.read(pods, [SERVING], endpoints(pods, engine))
        engine.cells = None
        assert await reader.read(pods, [SERVING], endpoints(pods, engine)) == first
        engine.cells = {"fields": ["batch"], "rows": []}
        assert await reader.read(pods, [SERVING], endpoints(pods, engine)) == first
        assert engine.cells_asked == 3
        assert await reader.read([], [SERVING], {}) == {}


async def test_a_large_fleet_is_asked_for_a_part_and_bit_by_bit(client: EngineClient) -> None:
    """64 engines of a key, 50 in a round."""
    async with EngineStandIn("right") as engine:
        engine.cells = cells_answer()
        reader = ServedCellsReader(client)
        pods = [pod(f"chat-{n}", report=report(engine_id=f"e{n}")) for n in range(200)]
        assert len(await reader.read(pods, [SERVING], endpoints(pods, engine))) == 50
        assert len(await reader.read(pods, [SERVING], endpoints(pods, engine))) == 64
        assert len(await reader.read(pods, [SERVING], endpoints(pods, engine))) == 64
        assert engine.cells_asked == 64


@pytest.mark.apiserver
@pytest.mark.timeout(180)
async def test_a_profile_grows_on_a_real_api_server(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """No Job, a profile that says where it comes from, and engines that run it."""
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        operator_process.start()
        await cluster.create(POLICIES, namespace, policy_manifest(namespace, profiling={"source": "Serving"}))

        async def growing() -> bool:
            status = await shop.policy_status(cluster, namespace)
            return shop.condition(status, "Profiled").get("reason") == "ProfileGrowing" and bool(engine.documents)

        await eventually("a policy that waits for its profile to grow", growing, operator_process)
        assert engine.documents[-1].latency is None
        # The engine was asked before it had seen anything; a new operator asks at once, the same one in a minute.
        engine.cells = cells_answer()
        operator_process.kill()
        operator_process.start()

        async def grown() -> bool:
            return engine.documents[-1].latency is not None

        await eventually("a document with what was measured", grown, operator_process)
        (profile,) = await shop.profiles(cluster, namespace)
        assert profile["metadata"]["name"] == f"serving-{KEY}"
        assert profile["spec"]["provenance"]["source"] == "Serving"
        assert profile["spec"]["provenance"]["coverage"] == "grown while serving: 5 points, 10 cells, 1 engine"

        async def told() -> bool:
            status = await shop.policy_status(cluster, namespace)
            return "grown while serving" in shop.condition(status, "Profiled").get("message", "")

        await eventually("a status that says so", told, operator_process)

        async def said() -> bool:
            status = (await shop.profiles(cluster, namespace))[0].get("status") or {}
            return [each["reason"] for each in status.get("conditions", [])] == ["InUse", "Grown"]

        await eventually("a profile that says that it is in use", said, operator_process)
