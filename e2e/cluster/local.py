"""The `local` cluster: real Kubernetes in namespaces of one machine, without a container engine's help."""

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from e2e.cluster import api, build, cgroups, credentials, leftovers, network, node, packages
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ClusterPaths, binary
from e2e.cluster.pause import pause_image
from e2e.cluster.progress import Say
from e2e.cluster.shell import as_root, find, run, wait_until
from e2e.cluster.state import ClusterState, Node, Process

START_TIMEOUT_SECONDS = 180.0  # 15 s on an idle machine of 2 cores
STOP_TIMEOUT_SECONDS = 30.0
MAXIMUM_NODES = 9


class LocalCluster:
    """One cluster by name; every method works from what is on disk, so any process may call it."""

    def __init__(self, name: str, say: Say) -> None:
        self.paths = ClusterPaths(name)
        self._name = name
        self._say = say

    def prepare(self) -> None:
        """Build and install what a cluster needs; best called before becoming root, so that the cache stays ours."""
        build.build(build.FOR_LOCAL, self._say)
        packages.install((*packages.TO_RUN, *packages.TO_BUILD_IMAGES), self._say)

    def up(self) -> None:
        """Bring the cluster up, prepared where it was not.

        After a failed start everything is taken down again; the logs stay.

        Raises:
            ClusterError: it is up already, a program is missing, or a component did not come up.
        """
        if self.paths.state_file.exists():
            raise ClusterError(f"cluster {self._name!r} is already up; take it down with: python -m e2e.cluster down")
        self.prepare()
        shutil.rmtree(self.paths.root, ignore_errors=True)
        self.paths.root.mkdir(parents=True)
        leftovers.take_snapshot(self.paths)
        state = ClusterState(self._name, sysctls={key: leftovers.sysctl(key) for key in leftovers.CHANGED_SYSCTLS})
        state.save(self.paths)
        try:
            self._start(state)
        except BaseException as error:
            explanation = self._keep_logs()
            self.down()
            if isinstance(error, ClusterError):
                raise ClusterError(f"{error}\n{explanation}") from error
            raise

    def down(self) -> None:
        """Undo everything in the journal. Harmless when the cluster is not up.

        Raises:
            ClusterError: something could not be undone; the message names it.
        """
        if not self.paths.state_file.exists():
            self._say(f"cluster {self._name!r} is not up")
            return
        state = ClusterState.load(self.paths)
        _stop_processes(state)
        self._say("every process of the cluster has ended")
        for name in reversed(state.network_namespaces):
            network.remove(name)
        if state.made_netns_mount and network.NAMESPACES.is_dir() and not any(network.NAMESPACES.iterdir()):
            run(["umount", network.NAMESPACES])
        left = [path for each in state.nodes for path in cgroups.remove(each.name)]
        cgroups.undelegate(state.delegated_controllers)
        for key, value in state.sysctls.items():
            run([find("sysctl") or "sysctl", "-qw", f"{key}={value}"])
        for folder in reversed(state.made_folders):
            with contextlib.suppress(OSError):  # another program put something there since
                Path(folder).rmdir()
        self._say("network, cgroups and settings are as before; removing files")
        shutil.rmtree(self.paths.root)
        if left:
            raise ClusterError(f"these cgroups still hold processes: {', '.join(left)}")

    def add_node(self, cpus: float | None = None) -> str:
        """Start one more node, whose pods together may use so many CPUs; returns its name when it is Ready."""
        state = ClusterState.load(self.paths)
        others = list(state.nodes)
        number = max(each.number for each in others) + 1
        if number > MAXIMUM_NODES:
            raise ClusterError(f"a local cluster has at most {MAXIMUM_NODES} nodes")
        added = replace(_new_node(self._name, number), cpus=cpus)
        state.nodes.append(added)
        self._make_namespace(state, added, lambda: network.create_further(added, others))
        credentials.issue_for_node(self.paths, added)
        added = node.start(self.paths, state, added)
        self._finish_node(added)
        return added.name

    def load_image(self, archive: Path) -> None:
        """Load a docker-archive into every node."""
        for each in ClusterState.load(self.paths).nodes:
            node.import_image(each, archive)

    def kubeconfig(self) -> Path:
        """For clients on this machine."""
        return self.paths.kubeconfig

    def kubectl(self, *arguments: str, text_input: str | None = None) -> str:
        """Standard output of kubectl as administrator."""
        return run([binary("kubectl"), f"--kubeconfig={self.paths.kubeconfig}", *arguments], text_input=text_input)

    def network_command(self, command: list[str]) -> list[str]:
        """`command` wrapped so that it runs in the cluster's network, where pod and service addresses answer."""
        first = ClusterState.load(self.paths).nodes[0]
        return as_root(["nsenter", f"--net={network.NAMESPACES / first.network_namespace}", "--", *command])

    def status(self) -> str:
        """A few lines for a person."""
        state = ClusterState.load(self.paths)
        lines = [f"node {each.name}: {'running' if each.running else 'DEAD'}" for each in state.nodes]
        lines.append(f"kubeconfig: {self.paths.kubeconfig}")
        lines.append(f"kubeconfig inside the cluster's network: {self.paths.kubeconfig_inside}")
        return "\n".join([*lines, self.kubectl("get", "nodes,pods", "-A", "-o", "wide").rstrip()])

    def _start(self, state: ClusterState) -> None:
        first = _new_node(self._name, 1)
        state.made_netns_mount = network.mount_is_new()
        state.nodes.append(first)
        self._make_namespace(state, first, lambda: network.create_first(first))
        state.bridge_port = _free_port()
        url = f"https://127.0.0.1:{state.bridge_port}"
        credentials.write_all(self.paths, first, url)
        first = node.start(self.paths, state, first)
        state.bridge = self._start_bridge(first, state.bridge_port)
        state.save(self.paths)
        if not api.wait_ready(url, self.paths.pki / "ca.crt", START_TIMEOUT_SECONDS, alive=lambda: first.running):
            raise ClusterError("the API server did not become ready")
        self._say("API server answers")
        self._finish_node(first)
        wait_until(self._has_default_account, seconds=START_TIMEOUT_SECONDS, what="the default service account")

    def _finish_node(self, started: Node) -> None:
        def ready() -> bool:
            try:
                self.kubectl("wait", "--for=condition=Ready", f"node/{started.name}", "--timeout=5s")
            except ClusterError:  # not registered yet, or not Ready within these 5 s
                return False
            return True

        node.import_image(started, pause_image())
        wait_until(ready, seconds=START_TIMEOUT_SECONDS, what=f"node {started.name} to be Ready")
        self._say(f"node {started.name} is Ready")

    def _has_default_account(self) -> bool:
        return bool(self.kubectl("get", "serviceaccount", "default", "-n", "default", "--ignore-not-found"))

    def _make_namespace(self, state: ClusterState, of: Node, create: Callable[[], int]) -> None:
        state.network_namespaces[of.network_namespace] = 0  # before it exists: an interrupted start is undone too
        state.save(self.paths)
        state.network_namespaces[of.network_namespace] = create()
        state.save(self.paths)

    def _start_bridge(self, first: Node, port: int) -> Process:
        """Listen on a loopback port of the machine and pass connections on to the API server's Unix socket."""
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
        command = ["socat", listen, f"UNIX-CONNECT:{self.paths.api_socket}"]
        with (self.paths.node(first.name) / "logs" / "bridge.log").open("ab") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return Process.of(started.pid)

    def _keep_logs(self) -> str:
        """Copy the first node's logs out of the folder that `down` removes; returns their ends and where they are."""
        first = _new_node(self._name, 1).name
        kept = self.paths.root.with_name(f"{self._name}.failed-logs")
        shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # it failed before there were any
            shutil.copytree(self.paths.node(first) / "logs", kept)
        return f"{node.log_tail(self.paths, first)}\nall logs: {kept}"


def _new_node(cluster: str, number: int) -> Node:
    name = f"{cluster}-{number}"
    return Node(name, number, f"10.89.0.{number}", f"10.244.{number - 1}.0/24", network_namespace=name)


def _stop_processes(state: ClusterState) -> None:
    if state.bridge is not None:
        state.bridge.kill(signal.SIGTERM)
    ended = [process for each in state.nodes for process in (each.box, each.outer) if process is not None]
    for process in ended:
        process.kill()
    wait_until(
        lambda: not any(process.alive for process in ended), seconds=STOP_TIMEOUT_SECONDS, what="the nodes to end"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
