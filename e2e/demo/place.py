"""Where the demo runs: the local cluster of this machine, kind, or the cluster that kubectl already talks to."""

import shutil
import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from e2e.cluster import images
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import LocalCluster
from e2e.cluster.network import NAMESPACES
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.progress import Say
from e2e.cluster.state import ClusterState
from e2e.demo.kube import Kube
from e2e.demo.netns import enter_network
from e2e.demo.prometheus import PORT, Prometheus

NAME = "turbospec"


class Place(Protocol):
    """A cluster for the demo."""

    needs_root: bool
    description: str
    prometheus_url: str | None

    def up(self) -> None:
        """A cluster that answers and has our images."""

    def down(self) -> None:
        """Undo ``up``."""

    def kubeconfig(self) -> Path:
        """For a person."""

    def enter_network(self) -> Kube:
        """From here on, pod addresses answer."""

    def leave_network(self) -> None:
        """Back in the machine's own network."""

    def prometheus(self) -> AbstractContextManager[Prometheus | None]:
        """A Prometheus beside the pods, or none."""


class LocalPlace:
    """Real Kubernetes in namespaces of this machine."""

    needs_root = True
    description = (
        "a Kubernetes cluster of its own, in namespaces of this machine (etcd, API server, kubelet, containerd)"
    )

    def __init__(self, say: Say) -> None:
        self._say = say
        self._cluster = LocalCluster(NAME, say)
        self._paths = ClusterPaths(NAME)
        self._inside = False
        self.prometheus_url: str | None = None

    def up(self) -> None:
        """A cluster left over from an earlier run is taken down first: it may hold older images and settings."""
        archives = (images.base_image(self._say), images.operator_image(self._say))
        if self._paths.state_file.exists():
            self._say("taking down the cluster of an earlier run")
            self._cluster.down()
        self._cluster.up()
        for archive in archives:
            self._cluster.load_image(archive)
        self.prometheus_url = f"http://{ClusterState.load(self._paths).nodes[0].address}:{PORT}"

    def down(self) -> None:
        self._cluster.down()

    def kubeconfig(self) -> Path:
        return self._paths.kubeconfig

    def enter_network(self) -> Kube:
        if not self._inside:
            node = ClusterState.load(self._paths).nodes[0]
            enter_network(NAMESPACES / node.network_namespace)
            self._inside = True
        return Kube(self._paths.kubeconfig_inside)

    def leave_network(self) -> None:
        if self._inside:
            enter_network(Path("/proc/1/ns/net"))
            self._inside = False

    def prometheus(self) -> AbstractContextManager[Prometheus | None]:
        if shutil.which("prometheus") is None:
            self._say("prometheus is not installed (apt-get install prometheus): going on without it")
            self.prometheus_url = None
            return nullcontext()
        self.enter_network()
        return Prometheus()


def choose_place(name: str, say: Say) -> Place:
    """The place of this name; ``auto`` is kind where a Docker engine answers, else local."""
    if name == "auto":
        name = "kind" if _docker_answers() else "local"
    if name == "local":
        return LocalPlace(say)
    raise ClusterError(f"CLUSTER={name} is not available yet: use CLUSTER=local")


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
