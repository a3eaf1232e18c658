"""Starting one node: its configuration files, then its process 1 in namespaces of its own."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from e2e.cluster import cgroups, config, network
from e2e.cluster.box import BoxSpec
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import REPOSITORY, ClusterPaths
from e2e.cluster.shell import find, run, wait_until
from e2e.cluster.state import ClusterState, Node, Process

# kubelet, containerd and CNI insist on these paths; each is bound to a folder of the node, inside its mounts only
BOUND_FOLDERS = {
    "kubelet": "/var/lib/kubelet",
    "containerd": "/var/lib/containerd",
    "cni-state": "/var/lib/cni",
    "pod-logs": "/var/log/pods",
    "container-logs": "/var/log/containers",
    "cni-config": "/etc/cni/net.d",
}
TMPFS_FOLDERS = ("/run/containerd",)  # containerd's shims put their sockets there whatever it is told


def start(paths: ClusterPaths, state: ClusterState, node: Node) -> Node:
    """Start a node whose network namespace exists; returns it with its processes. The journal is kept up to date."""
    folder = paths.node(node.name)
    logs = folder / "logs"
    for each in (logs, *(folder / name for name in BOUND_FOLDERS)):
        each.mkdir(parents=True, exist_ok=True)
    _write_configuration(paths, node)
    _make_mount_points(paths, state)
    state.delegated_controllers += cgroups.create(node.name, node.cpus)
    state.save(paths)

    commands = config.node_commands(paths, node)
    if node.number == 1:
        commands = {**config.control_plane_commands(paths), **commands}
    spec = BoxSpec(
        hostname=node.name,
        log_folder=str(logs),
        bind_mounts=[(str(folder / name), target) for name, target in BOUND_FOLDERS.items()],
        tmpfs_mounts=list(TMPFS_FOLDERS),
        commands=commands,
        start_after_socket={"kubelet": config.CONTAINERD_SOCKET},  # it exits at once without one
    )
    spec_file = folder / "box.json"
    spec_file.write_text(json.dumps(asdict(spec), indent=1))
    return _launch(paths, state, node, spec_file)


def _launch(paths: ClusterPaths, state: ClusterState, node: Node, spec_file: Path) -> Node:
    # nsenter and not `ip netns exec`: that one mounts /sys anew and hides the cgroups from kubelet and runc
    command = [
        "nsenter", f"--net={network.NAMESPACES / node.network_namespace}",
        "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc",
        "--propagation", "private",
        sys.executable, "-m", "e2e.cluster.box", str(spec_file),
    ]  # fmt: skip
    with (paths.node(node.name) / "logs" / "box.log").open("ab") as log:
        outer = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=REPOSITORY
        )
    node = replace(node, outer=Process.of(outer.pid))
    state.replace_node(node)
    state.save(paths)
    # nsenter and unshare replace themselves, so the only child of `outer` is process 1 of the node
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    wait_until(lambda: outer.poll() is not None or bool(children.read_text().split()), seconds=20, what="namespaces")
    if outer.poll() is not None:
        raise ClusterError(f"the namespaces of node {node.name} could not be made: {log_tail(paths, node.name)}")
    node = replace(node, box=Process.of(int(children.read_text().split()[0])))
    state.replace_node(node)
    state.save(paths)
    return node


def import_image(node: Node, archive: Path) -> None:
    """Load a docker-archive into the node's containerd, where pods with `imagePullPolicy: Never` find it."""
    if node.box is None or not node.running:
        raise ClusterError(f"node {node.name} is not running; take the cluster down and up again")
    root = Path(f"/proc/{node.box.pid}/root")
    wait_until((root / config.CONTAINERD_SOCKET[1:]).is_socket, seconds=60, what=f"containerd on {node.name}")
    enter = ["nsenter", "-t", str(node.box.pid), "--mount", "--net", "--pid"]
    # `k8s.io` is the containerd namespace that the kubelet's side reads
    run([*enter, find("ctr") or "ctr", "--namespace", "k8s.io", "images", "import", str(archive)])


def log_tail(paths: ClusterPaths, node: str, lines: int = 3) -> str:
    """The last lines of every component's log, for an error message."""
    parts = []
    for log in sorted((paths.node(node) / "logs").glob("*.log")):
        tail = log.read_text(errors="replace").splitlines()[-lines:]
        parts.append("\n".join([f"--- {log}", *tail]))
    return "\n".join(parts)


def _write_configuration(paths: ClusterPaths, node: Node) -> None:
    folder = paths.node(node.name)
    (folder / "containerd.toml").write_text(config.containerd_toml())
    (folder / "cni-config" / "10-pods.conflist").write_text(config.cni_conflist(node))
    (folder / "kubelet.yaml").write_text(config.kubelet_yaml(paths, node))
    (folder / "kube-proxy.yaml").write_text(config.kube_proxy_yaml(paths, node))
    paths.audit_policy.write_text(config.audit_policy_yaml())
    # nothing listens there: look-ups fail at once, where an unreachable server would make them wait
    (folder / "resolv.conf").write_text(f"nameserver {node.address}\n")


def _make_mount_points(paths: ClusterPaths, state: ClusterState) -> None:
    """Mount points that are missing on the machine; each made folder is in the journal, outermost first."""
    for target in (*BOUND_FOLDERS.values(), *TMPFS_FOLDERS):
        missing = [each for each in (Path(target), *Path(target).parents) if not each.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            state.made_folders.append(str(folder))
    state.save(paths)
