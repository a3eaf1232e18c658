"""A local cluster of two nodes with twenty stand-ins under three policies, and a Prometheus that scrapes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.cluster.progress import Progress
from e2e.cluster.providers import LocalProvider
from e2e.demo import stack
from e2e.demo.kube import SYSTEM_NAMESPACE, Kube, is_ready, wait_for
from e2e.demo.place import Place
from e2e.manifests.serving import NAMESPACE, namespace
from e2e.manifests.standins import Kind, autoscaler, config_map, deployment, measured_profile, policy

NAME = "turbospec-boards"
READY_SECONDS = 300
CHAT, SEARCH, BATCH = Kind("chat", "chat", 10), Kind("search", "search", 4), Kind("batch", "batch", 4)
PLAIN = Kind("plain", "batch", 1, draft_tokens=(0,))
OLDER = Kind("older", "batch", 1, inject=False)
KINDS = (CHAT, SEARCH, BATCH, PLAIN, OLDER)
"""Twenty engines: of ``batch`` one cannot be steered, and one was not injected."""
POLICIES = {"chat": "Existing", "search": "Existing", "batch": "Serving"}
"""Where each policy's profile comes from: its namespace, the cluster, and the engines' own measurements."""


@dataclass(frozen=True)
class Fleet:
    """The cluster, its Prometheus, and the address of every stand-in by pod."""

    kube: Kube
    prometheus_url: str
    addresses: dict[str, str]


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Everything Ready and scraped. Taken down at the end, whatever happened."""
    say = Progress()
    provider = LocalProvider(NAME, say)
    place = Place(provider, say, NAME)
    provider.prepare()
    place.up()
    try:
        provider.cluster.add_node()
        image = provider.operator_image()
        with place.prometheus() as prometheus:
            kube = place.enter()
            stack.install_turbospec(kube, say, image, prometheus_url=place.prometheus_url)
            kube.apply(namespace(), config_map(KINDS), *(policy(name, source) for name, source in POLICIES.items()))
            kube.apply(measured_profile(CHAT), measured_profile(SEARCH, shared=True))
            stack.await_runtime(kube)
            kube.apply(*(deployment(kind, image) for kind in KINDS))
            kube.apply(autoscaler(CHAT, "turbospec_expected_load_ratio"), autoscaler(SEARCH, "num_requests_running"))
            wanted = sum(kind.replicas for kind in KINDS)
            wait_for("all stand-ins to be Ready", lambda: _ready(kube) == wanted, READY_SECONDS)
            assert prometheus is not None, "no Prometheus (Debian: apt-get install prometheus)"
            assert place.prometheus_url is not None
            addresses = {pod.metadata.name: pod.status.pod_ip for pod in kube.pods(NAMESPACE, "kind")}
            prometheus.scrape(addresses, NAMESPACE)
            prometheus.scrape_operator(_operators(kube))
            yield Fleet(kube, place.prometheus_url, addresses)
    finally:
        place.down()


def _ready(kube: Kube) -> int:
    return sum(is_ready(pod) for pod in kube.pods(NAMESPACE, "kind"))


def _operators(kube: Kube) -> list[str]:
    pods = kube.pods(SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator")
    return [pod.status.pod_ip for pod in pods]
