"""A local cluster of two kinds of node, one with half the CPU time of the other, and a real vLLM server on each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from e2e.cluster.progress import Progress
from e2e.cluster.providers import LocalProvider
from e2e.demo import stack
from e2e.demo.kube import Kube, is_ready, wait_for
from e2e.demo.place import Place
from e2e.manifests.serving import NAMESPACE, SELECTOR, Serving, deployment, namespace, policy
from e2e.models.store import ensure_model
from e2e.vllm.install import install

NAME = "turbospec-kinds"
DRAFT_TOKENS = [0, 1, 3, 5]
PROFILE_SECONDS = 100
KINDS = {"full": 1.0, "half": 0.5}
"""CPUs of each kind of node, and of the engine on it. Of the machine's own CPUs the cluster needs some, so one is full.

Both are quotas, for an engine's front end counts too: beside an engine that has a second CPU for it, one with half a
CPU for both took three times as long and not twice.
"""


@dataclass(frozen=True)
class TwoKinds:
    """The cluster, and the node of each kind by name."""

    place: Place
    kube: Kube
    nodes: dict[str, str]


@pytest.fixture(scope="session")
def kinds() -> Iterator[TwoKinds]:
    """Two nodes, an engine on each, one policy. Taken down at the end, whatever happened."""
    say = Progress()
    vllm = install(say)
    model = ensure_model("dial", say, vllm)
    provider = LocalProvider(NAME, say)
    place = Place(provider, say, NAME)
    provider.prepare()
    place.up()
    try:
        nodes = {kind: provider.cluster.add_node(cpus) for kind, cpus in KINDS.items()}
        image, base = provider.operator_image(), provider.serving_image(model)
        kube = place.enter()
        kube.kubectl("cordon", *nodes.values())  # what is not measured runs elsewhere
        stack.install_turbospec(kube, say, image, prometheus_url=None)
        kube.kubectl("uncordon", *nodes.values())
        kube.apply(namespace(), policy(DRAFT_TOKENS, prompt_lookup_min=1))
        stack.await_runtime(kube)
        serving = Serving(vllm, model, base, replicas=1, profile_seconds=PROFILE_SECONDS)
        for kind, node in nodes.items():
            labels = (*SELECTOR.items(), ("kind", kind))
            kube.apply(
                deployment(replace(serving, name=f"chat-{kind}", labels=labels, node=node, cpus=str(KINDS[kind])))
            )
        say("a vLLM server is starting on each node (two or three minutes on the slow one)")
        wait_for("both servers to be Ready", lambda: _ready(kube) == len(KINDS), 900)
        yield TwoKinds(place, kube, nodes)
    finally:
        place.down()


def _ready(kube: Kube) -> int:
    return sum(is_ready(pod) for pod in kube.pods(NAMESPACE, stack.LABELS))
