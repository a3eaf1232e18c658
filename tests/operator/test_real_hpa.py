"""Our series under the real HorizontalPodAutoscaler: kube-controller-manager beside an API server of its own, with the
autoscalers of examples/autoscaling, and pods that are Ready when a test says so. Of the two forms of demand there KEDA
makes the same (tests/chart/test_autoscaling_examples.py)."""

from collections.abc import Iterator

import pytest

from e2e.autoscaling.external_metrics import NAMESPACE, SERVICE, ExternalMetrics
from e2e.autoscaling.hpa import EXTERNAL, example_hpa
from tests.operator.scaled_fleets import SYNC_SECONDS, Fleets, World, quicker
from tests.operator.scaling_rides import RATIO, WHOLE, blind_for_a_while, rides
from tests.support.apiserver import ApiServer
from tests.support.controller_manager import ControllerManager
from turbospec_operator.cluster import HPAS, Kind, Raw

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]


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
            yield World(api, fleets, lambda namespace: metrics.asked[namespace], autoscaler)
    finally:
        api.stop()


def autoscaler(example: str, namespace: str) -> tuple[Kind, Raw]:
    """The example's, as far as it may go and as quickly as the rest of these tests."""
    found = example_hpa(example, namespace, maxReplicas=60)
    found["spec"]["behavior"] = quicker(found["spec"].get("behavior", {}))
    return HPAS, found


def service(port: int) -> Raw:
    """By a name, for no Service leads to loopback by address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }


async def test_replicas_go_straight_to_what_the_simulated_autoscaler_asks_for(world: World) -> None:
    """At 1, 11 and 30 replicas: no pod is asked for twice, however many start and however old the series are."""
    ways = await rides(world, (EXTERNAL, RATIO, WHOLE))
    by_demand = [[1, 2, 1], [11, 21, 9], [30, 57, 23]]
    assert ways == [*by_demand, *by_demand, [1, 2, 1], [11, 20, 8], [30, 54, 22]]


async def test_unknown_is_not_nought(world: World) -> None:
    """Without series the autoscaler keeps its replicas, and takes up again with them."""
    await blind_for_a_while(world, EXTERNAL)
