"""Keys and kubeconfig files of a local cluster."""

import os
from pathlib import Path

from e2e.cluster import config
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.pki import CertificateAuthority, KeyPair, kubeconfig, service_account_keys, write_private
from e2e.cluster.state import Node

ADMINISTRATORS = ("system:masters",)


def write_all(paths: ClusterPaths, first: Node, outside_url: str) -> None:
    """Make the authorities and everything that the control plane and its first node need to trust each other.

    Args:
        outside_url: how clients on the machine itself reach the API server.
    """
    pki = paths.pki
    pki.mkdir(mode=0o700)
    authority = CertificateAuthority("turbospec-local")
    authority.own_pair.write(pki, "ca")
    # its own authority: the aggregation layer must not take an ordinary client certificate for a proxy's
    front_proxy = CertificateAuthority("turbospec-local-front-proxy")
    front_proxy.own_pair.write(pki, "front-proxy-ca")
    front_proxy.issue("front-proxy-client").write(pki, "front-proxy-client")
    authority.issue("kube-apiserver", names=_server_names()).write(pki, "apiserver")
    authority.issue("apiserver-kubelet-client", organizations=ADMINISTRATORS).write(pki, "apiserver-kubelet-client")
    private, public = service_account_keys()
    write_private(pki / "sa.key", private)
    (pki / "sa.pub").write_bytes(public)
    for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        pair = authority.issue(f"system:{component}")
        content = kubeconfig(config.API_URL, authority.certificate, pair)
        write_private(pki / f"{component}.kubeconfig", content.encode())
    admin = authority.issue("admin", organizations=ADMINISTRATORS)
    for path, url in ((paths.kubeconfig_inside, config.API_URL), (paths.kubeconfig, outside_url)):
        write_private(path, kubeconfig(url, authority.certificate, admin).encode())
        _give_to_caller(path)
    issue_for_node(paths, first)


def issue_for_node(paths: ClusterPaths, node: Node) -> None:
    """Certificate and kubeconfig of one kubelet; the authority must have been written before."""
    pki = paths.pki
    authority = CertificateAuthority.load(KeyPair((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes()))
    names = (node.name, node.address)
    pair = authority.issue(f"system:node:{node.name}", organizations=("system:nodes",), names=names)
    pair.write(pki, f"kubelet-{node.name}")
    content = kubeconfig(config.API_URL, authority.certificate, pair)
    write_private(pki / f"kubelet-{node.name}.kubeconfig", content.encode())


def _server_names() -> tuple[str, ...]:
    service = "kubernetes.default.svc"
    own = ("kubernetes", "kubernetes.default", service, f"{service}.cluster.local")
    return (*own, "localhost", "127.0.0.1", config.API_SERVICE_ADDRESS, config.CONTROL_PLANE_ADDRESS)


def _give_to_caller(path: Path) -> None:
    """Under sudo the files belong to root; the person who called must be able to read the kubeconfig."""
    if "SUDO_UID" in os.environ:
        os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
