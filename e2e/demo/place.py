"""The demo's cluster and how its pods are reached: directly in the local cluster's network, else by port-forward."""

import os
import re
import subprocess
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import providers
from e2e.cluster.errors import ClusterError
from e2e.cluster.network import NAMESPACES
from e2e.cluster.paths import ClusterPaths, binary
from e2e.cluster.progress import Say
from e2e.cluster.providers import LocalProvider, Provider
from e2e.cluster.state import ClusterState
from e2e.demo.engines import CONTROL_PORT, SERVING_PORT
from e2e.demo.kube import Kube
from e2e.demo.netns import inside_network
from e2e.demo.prometheus import PORT, Prometheus, find_program

NAME = "turbospec"
FORWARDED = re.compile(r"Forwarding from (127\.0\.0\.1:\d+) -> (\d+)")


@dataclass(frozen=True)
class PodAddress:
    """Where a serving pod answers, as ``http://host:port``."""

    serving_url: str
    control_url: str


class Place:
    """A provider's cluster with the demo's way into it. ``name`` is a local cluster's."""

    def __init__(self, provider: Provider, say: Say, name: str = NAME) -> None:
        self.provider = provider
        self._paths = ClusterPaths(name)
        self.prometheus_url: str | None = None
        self._say = say
        self._network = ExitStack()
        self._own_network: int | None = None
        """Once inside the cluster's: a descriptor of the network that this process came from."""
        self._forwards: list[subprocess.Popen[str]] = []

    @property
    def is_local(self) -> bool:
        return isinstance(self.provider, LocalProvider)

    @property
    def audit_log(self) -> Path:
        """What TurboSpec asked of a local cluster's API server (``e2e.audit``)."""
        return self._paths.audit_log

    def up(self) -> None:
        """A local cluster left over from an earlier run goes first: it may hold older images and settings."""
        if self.is_local and self._paths.state_file.exists():
            self._say("taking down the cluster of an earlier run")
            self.provider.down()
        self.provider.up()

    def down(self) -> None:
        """Out of the cluster's network and everything undone."""
        for forward in self._forwards:
            forward.terminate()
            forward.wait()
        self._forwards.clear()
        self._network.close()
        self._own_network = None
        self.provider.down()

    def enter(self) -> Kube:
        """From here on this process, and all it starts, is where pods answer, as far as there is such a place."""
        if not self.is_local:
            return Kube(self.provider.kubeconfig())
        if self._own_network is None:
            node = ClusterState.load(self._paths).nodes[0]
            self._own_network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._network.callback(os.close, self._own_network)
            self._network.enter_context(inside_network(NAMESPACES / node.network_namespace))
        return Kube(self._paths.kubeconfig_inside)

    def outside(self) -> AbstractContextManager[None]:
        """Within the block what is started is where the machine's other processes are."""
        if self._own_network is None:
            return nullcontext()
        return inside_network(Path(f"/proc/self/fd/{self._own_network}"))

    def address(self, namespace: str, pod: str, ip: str) -> PodAddress:
        """The pod's own address, or that of a port-forward that lives until ``down``."""
        if self._own_network is not None:
            return PodAddress(f"http://{ip}:{SERVING_PORT}", f"http://{ip}:{CONTROL_PORT}")
        command = [
            str(binary("kubectl")), f"--kubeconfig={self.provider.kubeconfig()}", "port-forward",
            "-n", namespace, f"pod/{pod}", "--address=127.0.0.1", f":{SERVING_PORT}", f":{CONTROL_PORT}",
        ]  # fmt: skip
        forward = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._forwards.append(forward)
        found: dict[str, str] = {}
        for line in forward.stdout or ():
            if match := FORWARDED.match(line):
                found[match.group(2)] = f"http://{match.group(1)}"
            if len(found) == 2:
                return PodAddress(found[str(SERVING_PORT)], found[str(CONTROL_PORT)])
        raise ClusterError(f"kubectl port-forward to pod {pod} ended with status {forward.wait()}")

    def prometheus(self) -> AbstractContextManager[Prometheus | None]:
        """Prometheus beside the pods of a local cluster; elsewhere, and where there is none to be had, none."""
        if not self.is_local:
            return nullcontext()
        try:
            program = find_program(self._say)
        except ClusterError as error:
            self._say(f"going on without Prometheus: {error}")
            return nullcontext()
        self.enter()
        self.prometheus_url = f"http://{ClusterState.load(self._paths).nodes[0].address}:{PORT}"
        return Prometheus(program)


def choose_place(say: Say) -> Place:
    """The place that ``$CLUSTER`` names (``e2e.cluster.providers.choose``)."""
    return Place(providers.choose(NAME, say), say)


def local_place(say: Say) -> Place:
    """The local cluster, whatever else there is: what the end-to-end tests run on."""
    return Place(LocalProvider(NAME, say), say)
