"""A local cluster with stand-ins for vLLM under a real HorizontalPodAutoscaler, and one ramp of load for all tests."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from e2e.autoscaling import plot
from e2e.autoscaling.external_metrics import ExternalMetrics
from e2e.autoscaling.hpa import EXTERNAL, example_hpa
from e2e.autoscaling.open_load import Points, send
from e2e.autoscaling.recording import Recorder, Recording, scrape
from e2e.autoscaling.serving import measured_profile, metrics_service, policy, serving
from e2e.cluster.paths import REPOSITORY, ClusterPaths
from e2e.cluster.progress import Progress, Say
from e2e.cluster.providers import LocalProvider
from e2e.cluster.state import ClusterState
from e2e.demo import stack
from e2e.demo.kube import SYSTEM_NAMESPACE, Kube, Manifest, is_ready, wait_for
from e2e.demo.place import Place
from e2e.manifests.serving import DEPLOYMENT, NAMESPACE, POLICY, namespace

NAME = "turbospec-hpa"
OUTPUT = REPOSITORY / "build" / "autoscaling"
OPERATOR_METRICS_PORT, METRICS_PORT = 8080, 7443
DOWN_SECONDS = 30
BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": DOWN_SECONDS}}
"""In place of five minutes; scaling up keeps its defaults."""
RAMP: Points = ((0, 1.2), (30, 1.2), (230, 9.0), (280, 9.0), (400, 1.2), (490, 1.2))


@dataclass(frozen=True)
class Ramp:
    """What was recorded, and the policy as it was at the end."""

    recording: Recording
    policy: Manifest


@pytest.fixture(scope="session")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ramp]:
    """The ramp, once the only engine is controlled. The cluster is taken down at the end, whatever happened."""
    say = Progress()
    provider = LocalProvider(NAME, say)
    place = Place(provider, say, NAME)
    provider.prepare()
    place.up()
    try:
        image = provider.operator_image()
        kube = place.enter()
        stack.install_turbospec(kube, say, image, prometheus_url=None)
        kube.apply(namespace(), measured_profile(), policy())
        stack.await_runtime(kube)
        kube.apply(*serving(image))
        wait_for("the stand-in to be Ready", lambda: any(map(is_ready, kube.pods(NAMESPACE, stack.LABELS))), 120)
        stack.await_controlled(kube, say)
        read = _operator_series(kube)
        with _autoscaler(kube, read, tmp_path_factory.mktemp("external-metrics")):
            recording = asyncio.run(_ride(place, kube, read, say))
        _write(recording)
        yield Ramp(recording, kube.policy(NAMESPACE, POLICY))
    finally:
        place.down()


def _operator_series(kube: Kube) -> Callable[[], str]:
    pods = kube.pods(SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator")
    address = pods[0].status.pod_ip
    return lambda: scrape(f"http://{address}:{OPERATOR_METRICS_PORT}/metrics")


@contextlib.contextmanager
def _autoscaler(kube: Kube, read: Callable[[], str], folder: Path) -> Iterator[None]:
    """The example's HorizontalPodAutoscaler, and who tells it the operator's series."""
    node = ClusterState.load(ClusterPaths(NAME)).nodes[0].address
    with ExternalMetrics(read, folder, address="0.0.0.0", port=METRICS_PORT) as metrics:
        kube.apply(*metrics_service(node, metrics.port), metrics.api_service(metrics.port))
        kube.kubectl("wait", "--for=condition=Available", "apiservice", "--all", "--timeout=60s")
        kube.apply(example_hpa(EXTERNAL, NAMESPACE, maxReplicas=8, behavior=BEHAVIOR))
        yield


async def _ride(place: Place, kube: Kube, read: Callable[[], str], say: Say) -> Recording:
    """Load and records side by side."""
    service = kube.core.read_namespaced_service(DEPLOYMENT, NAMESPACE)
    recorder = Recorder(place, kube, read, RAMP)
    recording = asyncio.create_task(recorder.run())
    say(f"the ramp: {RAMP[-1][0]:.0f} s")
    await send(f"http://{service.spec.cluster_ip}", RAMP, recorder.recording.answered)
    recording.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await recording  # what went wrong in it is raised here
    say(f"{recorder.recording.answered}, replicas {recorder.recording.changes()}")
    return recorder.recording


def _write(recording: Recording) -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "ramp.json").write_text(json.dumps(asdict(recording), indent=1) + "\n")
    title = (
        "turbospec sim serve under the HorizontalPodAutoscaler of Kubernetes 1.34, with examples/autoscaling/"
        f"{EXTERNAL}\n(sync 2 s, scaling down after {DOWN_SECONDS} s)"
    )
    plot.draw(recording, title, OUTPUT / "ramp.png")
