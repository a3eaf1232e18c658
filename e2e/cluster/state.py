"""The journal of one cluster: what `up` changed on the machine so far, which is what `down` has to undo."""

import json
import os
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ClusterPaths


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for another one that got its id later."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        fields = _stat_fields(pid)
        if fields is None:
            raise ClusterError(f"process {pid} ended right after it was started")
        return cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        fields = _stat_fields(self.pid)
        return fields is not None and int(fields[19]) == self.start_ticks and fields[0] != "Z"

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Signal the process if it is still this one."""
        if self.alive:
            os.kill(self.pid, signal_number)


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its namespaces hang on two processes, `outer` (unshare) and `box` (pid 1 inside).

    `cpus` is what all its pods may use together; None is all that the machine has.
    """

    name: str
    number: int
    address: str
    pod_cidr: str
    network_namespace: str
    outer: Process | None = None
    box: Process | None = None
    cpus: float | None = None

    @property
    def running(self) -> bool:
        return self.box is not None and self.box.alive


@dataclass(slots=True)
class ClusterState:
    """Everything `down` needs. Written to disk after each step, before the next one starts."""

    name: str
    bridge_port: int = 0
    bridge: Process | None = None
    made_netns_mount: bool = False
    made_folders: list[str] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    network_namespaces: dict[str, int] = field(default_factory=dict)  # name -> inode
    delegated_controllers: list[str] = field(default_factory=list)  # cgroup v2
    nodes: list[Node] = field(default_factory=list)

    def save(self, paths: ClusterPaths) -> None:
        paths.root.mkdir(parents=True, exist_ok=True)
        beside = paths.state_file.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self), indent=1))
        beside.replace(paths.state_file)

    @classmethod
    def load(cls, paths: ClusterPaths) -> "ClusterState":
        """The journal of a cluster that was brought up.

        Raises:
            ClusterError: there is none.
        """
        try:
            data = json.loads(paths.state_file.read_text())
        except FileNotFoundError:
            raise ClusterError(
                f"no cluster named {paths.name!r} is up; start one with: python -m e2e.cluster up"
            ) from None
        nodes = [
            Node(**{**node, "outer": _process(node["outer"]), "box": _process(node["box"])}) for node in data["nodes"]
        ]
        return cls(**{**data, "nodes": nodes, "bridge": _process(data["bridge"])})

    def replace_node(self, node: Node) -> None:
        self.nodes = [*(each for each in self.nodes if each.name != node.name), node]


def _process(data: dict[str, int] | None) -> Process | None:
    return None if data is None else Process(**data)


def _stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: the program's name before it may hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
