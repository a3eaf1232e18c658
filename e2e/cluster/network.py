"""Network namespaces of the nodes. Nothing here touches the machine's own interfaces, routes or firewall."""

from pathlib import Path

from e2e.cluster.config import CONTROL_PLANE_ADDRESS
from e2e.cluster.shell import find, run
from e2e.cluster.state import Node

NAMESPACES = Path("/run/netns")
NODE_INTERFACE = "node0"


def mount_is_new() -> bool:
    """Whether `ip netns add` will have to make /run/netns a mount, which it never takes back."""
    return not any(line.split()[4] == str(NAMESPACES) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def create_first(node: Node) -> int:
    """The namespace of the control plane and first node; returns its inode."""
    inode = _create(node)
    # a bridge without ports stands in for a network card: not every kernel has dummy interfaces
    _inside(node, "ip", "link", "add", NODE_INTERFACE, "type", "bridge")
    _finish_interface(node)
    # processes of the node need a route to service addresses before these are translated; packets go nowhere else
    _inside(node, "ip", "route", "add", "default", "dev", NODE_INTERFACE)
    return inode


def create_further(node: Node, others: list[Node]) -> int:
    """A namespace joined to the first node's bridge by a cable whose both ends are ours; returns its inode.

    Static routes between the nodes stand in for an overlay network.
    """
    first = others[0]
    inode = _create(node)
    cable = f"cable{node.number}"
    run(["ip", "-n", first.network_namespace, "link", "add", cable, "type", "veth",
         "peer", "name", NODE_INTERFACE, "netns", node.network_namespace])  # fmt: skip
    _inside(first, "ip", "link", "set", cable, "master", NODE_INTERFACE, "up")
    _finish_interface(node)
    _inside(node, "ip", "route", "add", "default", "via", CONTROL_PLANE_ADDRESS)
    for other in others:
        _inside(node, "ip", "route", "add", other.pod_cidr, "via", other.address)
        _inside(other, "ip", "route", "add", node.pod_cidr, "via", node.address)
    return inode


def remove(name: str) -> None:
    """Remove a namespace with every interface in it; harmless where there is none."""
    if (NAMESPACES / name).exists():
        run(["ip", "netns", "del", name])


def _create(node: Node) -> int:
    run(["ip", "netns", "add", node.network_namespace])
    _inside(node, "ip", "link", "set", "lo", "up")
    return (NAMESPACES / node.network_namespace).stat().st_ino


def _finish_interface(node: Node) -> None:
    _inside(node, "ip", "addr", "add", f"{node.address}/24", "dev", NODE_INTERFACE)
    _inside(node, "ip", "link", "set", NODE_INTERFACE, "up")
    # a new namespace starts as an end host, not as a router
    _inside(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    _inside(node, "sysctl", "-qw", "--ignore", "net.bridge.bridge-nf-call-iptables=1")


def _inside(node: Node, program: str, *arguments: str) -> None:
    run(["nsenter", f"--net={NAMESPACES / node.network_namespace}", find(program) or program, *arguments])
