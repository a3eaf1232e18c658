"""The ScaledObjects of examples/autoscaling under real KEDA with Debian's Prometheus, beside a real API server and its
controllers: what ``tests/operator/test_real_hpa.py`` asks, through the whole chain. By hand: `make e2e-keda`."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.autoscaling.external_metrics import GROUP, NAMESPACE, SERVICE, VERSION
from e2e.autoscaling.hpa import EXAMPLES
from e2e.cluster import build as kubernetes
from e2e.cluster.progress import Progress
from e2e.demo.prometheus import find_program
from e2e.keda.build import binaries, custom_resources
from e2e.keda.processes import exposition, keda, prometheus
from tests.operator.scaled_fleets import SYNC_SECONDS, Fleets, World, quicker
from tests.operator.scaling_rides import RATIO, WHOLE, blind_for_a_while, rides
from tests.support.apiserver import ApiServer
from tests.support.controller_manager import ControllerManager
from tests.support.ports import free_ports
from turbospec_operator.cluster import SCALED_OBJECTS, Kind, Raw

pytestmark = pytest.mark.timeout(1800)

DEMAND = "keda-demand.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """From Prometheus to the controller, everything that stands between our series and pods."""
    folder, fleets, say = tmp_path_factory.mktemp("keda"), Fleets(), Progress()
    kubernetes.build(("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"), say)
    built, program = binaries(say), find_program(say)
    secure, web, *others = free_ports(4)
    api = ApiServer(folder / "apiserver")
    api.start()
    try:
        api.kubectl("apply", "--server-side", *(f"--filename={path}" for path in custom_resources()))
        api.apply(*anybody_may_read_metrics())
        with (
            exposition(fleets) as target,
            prometheus(program, target, web, folder),
            keda(built, api.kubeconfig, [secure, *others], folder) as authority,
            ControllerManager(api, folder, SYNC_SECONDS),
        ):
            api.apply(*adapter_service(secure, authority))
            api.kubectl("wait", "--for=condition=Available", "apiservice", "--all", "--timeout=120s")
            yield World(api, fleets, looks, Autoscaler(f"http://127.0.0.1:{web}"), "keda-hpa-chat")
    finally:
        api.stop()


def looks(namespace: str) -> int:  # noqa: ARG001 (KEDA does not say who asked)
    """As many as there is time for."""
    return int(time.monotonic() / SYNC_SECONDS)


class Autoscaler:
    """ScaledObjects as the examples have them, reading this Prometheus."""

    def __init__(self, prometheus_url: str) -> None:
        self._url = prometheus_url

    def __call__(self, example: str, namespace: str) -> tuple[Kind, Raw]:
        """As far as it may go and as quickly as the rest of these tests."""
        text = (EXAMPLES / example).read_text().replace("http://prometheus.monitoring:9090", self._url)
        found: Raw = yaml.safe_load(text.replace('namespace="team"', f'namespace="{namespace}"'))
        spec: dict[str, Any] = found["spec"]
        found["metadata"]["namespace"] = namespace
        spec["maxReplicaCount"] = 60
        config = spec.setdefault("advanced", {}).setdefault("horizontalPodAutoscalerConfig", {})
        config["behavior"] = quicker(config.get("behavior", {}))
        return SCALED_OBJECTS, found


def adapter_service(port: int, authority: bytes) -> list[Raw]:
    """Leads the API server to the adapter."""
    service = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    spec = {
        "group": GROUP,
        "version": VERSION,
        "service": {"name": SERVICE, "namespace": NAMESPACE, "port": port},
        "caBundle": base64.b64encode(authority).decode(),
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    meta = {"name": SERVICE, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": spec,
        },
    ]


def anybody_may_read_metrics() -> list[Raw]:
    """This API server has no certificate of its own for those it passes questions on to: they come from anybody."""
    rules = [
        {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": SERVICE},
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": SERVICE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": SERVICE},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"},
            ],
        },
    ]


async def test_replicas_go_straight_to_what_the_simulated_autoscaler_asks_for(world: World) -> None:
    """At 1, 11 and 30 replicas, by demand, by ratio and by whole pods."""
    ways = await rides(world, (DEMAND, RATIO, WHOLE))
    by_demand = [[1, 2, 1], [11, 21, 9], [30, 57, 23]]
    assert ways == [*by_demand, *by_demand, [1, 2, 1], [11, 20, 8], [30, 54, 22]]


async def test_unknown_is_not_nought(world: World) -> None:
    """A series that goes away: KEDA asks for nothing, and the autoscaler keeps its replicas."""
    await blind_for_a_while(world, DEMAND)
