"""Our series under the real HorizontalPodAutoscaler: kube-controller-manager beside an API server of its own, with the
autoscalers of examples/autoscaling, and pods that are Ready when a test says so. Of the two forms of demand there KEDA
makes the same (tests/chart/test_autoscaling_examples.py)."""

import asyncio
from collections.abc import Iterator

import pytest

from e2e.autoscaling.external_metrics import NAMESPACE, SERVICE, ExternalMetrics
from e2e.autoscaling.hpa import EXTERNAL
from tests.operator.scaled_fleets import DOWN_SECONDS, SYNC_SECONDS, Fleet, Fleets, World
from tests.support.apiserver import ApiServer
from tests.support.controller_manager import ControllerManager
from turbospec.simulation.fleet.hpa import Form, ObservedPod, Reading, proposal
from turbospec_operator.cluster import Raw

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

RATIO = "keda-ratio.yaml"
SIZES = (1, 11, 30)
TARGET = 0.8


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Controllers would make pods for other tests' Deployments: so the API server is nobody else's."""
    folder, fleets = tmp_path_factory.mktemp("real-hpa"), Fleets()
    api = ApiServer(folder)
    api.start()
    try:
        with (
            ExternalMetrics(fleets.exposition, folder) as metrics,
            ControllerManager(api, folder, SYNC_SECONDS),
        ):
            api.apply(service(metrics.port), metrics.api_service(metrics.port))
            api.kubectl("wait", "--for=condition=Available", "apiservice", "--all", "--timeout=60s")
            yield World(api, metrics, fleets)
    finally:
        api.stop()


def service(port: int) -> Raw:
    """By a name, for no Service leads to loopback by address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }


def wanted(example: str, replicas: int, load: float) -> int:
    """What the fleet simulator's autoscaler asks for."""
    by_ratio = example == RATIO
    reading = Reading(Form.VALUE, TARGET, load / replicas) if by_ratio else Reading(Form.AVERAGE_VALUE, TARGET, load)
    found = proposal(reading, replicas, [ObservedPod(str(number)) for number in range(replicas)])
    assert found is not None
    return max(1, found)


async def settles(fleet: Fleet, example: str, share: float) -> None:
    """After a change of load to this share of the present one."""
    assert fleet.load is not None
    fleet.load *= share
    await fleet.rests_at(wanted(example, fleet.replicas[-1], fleet.load))


async def ride(world: World, example: str, replicas: int) -> list[int]:
    """The replicas asked for at rest, when load nearly doubles from one second to the next, and when most of it goes.

    Pods take six syncs to be Ready, and what the autoscaler reads is two syncs old at most, as with a Prometheus that
    scrapes twice a minute.
    """
    start, scrape = 6 * SYNC_SECONDS, 2 * SYNC_SECONDS
    async with world.fleet(example, replicas, start_seconds=start, scrape_seconds=scrape) as fleet:
        await fleet.syncs(4)
        await settles(fleet, example, 1.9)
        await settles(fleet, example, 0.4)
        assert fleet.condition("ScalingActive") == "True"
        return fleet.replicas


async def test_replicas_go_straight_to_what_the_simulated_autoscaler_asks_for(world: World) -> None:
    """At 1, 11 and 30 replicas: no pod is asked for twice, however many start and however old the series are."""
    cases = [(example, replicas) for example in (EXTERNAL, RATIO) for replicas in SIZES]
    ways = await asyncio.gather(*(ride(world, *case) for case in cases))
    assert ways == [[1, 2, 1], [11, 21, 9], [30, 57, 23]] * 2


async def test_unknown_is_not_nought(world: World) -> None:
    """Without series the autoscaler keeps its replicas, and takes up again with them."""
    async with world.fleet(EXTERNAL, 3) as fleet:
        await fleet.syncs(2)
        fleet.load = None
        await fleet.syncs(2 * round(DOWN_SECONDS / SYNC_SECONDS))
        assert (fleet.replicas, fleet.condition("ScalingActive")) == ([3], "False")
        fleet.load = 0.8
        await fleet.rests_at(1)
        assert fleet.condition("ScalingActive") == "True"
