"""Configuration files and command lines of every component. Pure: text in, text out."""

import json
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.cgroups import QUOTA_PERIOD_MICROSECONDS
from e2e.cluster.paths import ClusterPaths, binary
from e2e.cluster.state import Node

CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"  # the first of SERVICE_CIDR belongs to the `kubernetes` service
CONTROL_PLANE_ADDRESS = "10.89.0.1"
API_PORT = 6443
API_URL = f"https://{CONTROL_PLANE_ADDRESS}:{API_PORT}"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
AUDITED_GROUP = "system:serviceaccounts:turbospec-system"
PAUSE_IMAGE = "localhost/turbospec-pause:1"
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")  # Debian, upstream, Fedora

Command = list[str]


def cni_folder() -> str | None:
    """Where this machine keeps its CNI plugins, if it has any."""
    return next((folder for folder in CNI_FOLDERS if Path(folder, "bridge").exists()), None)


def containerd_toml() -> str:
    """containerd (1.6 and later) for one node."""
    return f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"        # imported by us; containerd would otherwise try to pull one
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true    # else mounts are left in the machine's /run/netns
  enable_selinux = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_folder()}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def cni_conflist(node: Node) -> str:
    """A bridge per node; packets leave the node untranslated, by static routes."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": node.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}, indent=1)


def kubelet_yaml(paths: ClusterPaths, node: Node) -> str:
    """kubelet for one node. All pod cgroups lie under /NODE, so that they can be removed together."""
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.name}",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{paths.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{paths.pki}/kubelet-{node.name}.crt",
            "tlsPrivateKeyFile": f"{paths.pki}/kubelet-{node.name}.key",
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "clusterDomain": "cluster.local",
            "resolvConf": f"{paths.node(node.name)}/resolv.conf",
            # a developer's disk is often nearly full: evict only when it really is
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,  # images are imported once and cannot be pulled again
            "maxPods": 250,
            "serializeImagePulls": False,
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "4s",
            "shutdownGracePeriod": "0s",
            **(_short_quota_period() if node.cpus is not None else {}),
        }
    )


def _short_quota_period() -> dict[str, Any]:
    return {
        "cpuCFSQuotaPeriod": f"{QUOTA_PERIOD_MICROSECONDS}us",
        "featureGates": {"CustomCPUCFSQuotaPeriod": True},
    }


def kube_proxy_yaml(paths: ClusterPaths, node: Node) -> str:
    """kube-proxy for one node."""
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": f"{paths.pki}/kube-proxy.kubeconfig"},
            "clusterCIDR": CLUSTER_CIDR,
            "hostnameOverride": node.name,
            # nf_conntrack_max belongs to the machine and is read-only in a network namespace
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "nftables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
        }
    )


def audit_policy_yaml(group: str = AUDITED_GROUP) -> str:
    """Who asked for what, of this group only, TurboSpec's own service accounts: of everybody it would be gigabytes.

    A watch is written down when it begins: it may not end before the log is read.
    """
    return _yaml(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": [group]}, {"level": "None"}],
        }
    )


def control_plane_commands(paths: ClusterPaths) -> dict[str, Command]:
    """Command lines of the control plane, in starting order."""
    return {
        "etcd": _etcd(paths),
        "kube-apiserver": _apiserver(paths),
        "kube-controller-manager": _controller_manager(paths),
        "kube-scheduler": [
            str(binary("kube-scheduler")),
            *_client_flags(f"{paths.pki}/kube-scheduler.kubeconfig"),
        ],
        "api-socket": [
            "socat",
            f"UNIX-LISTEN:{paths.api_socket},fork,unlink-early,mode=0600",
            f"TCP:{CONTROL_PLANE_ADDRESS}:{API_PORT}",
        ],
    }


def node_commands(paths: ClusterPaths, node: Node) -> dict[str, Command]:
    """Command lines of what runs on every node, in starting order."""
    folder = paths.node(node.name)
    return {
        "containerd": ["containerd", "--config", f"{folder}/containerd.toml"],
        "kubelet": [
            str(binary("kubelet")),
            f"--config={folder}/kubelet.yaml",
            f"--kubeconfig={paths.pki}/kubelet-{node.name}.kubeconfig",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ],
        "kube-proxy": [str(binary("kube-proxy")), f"--config={folder}/kube-proxy.yaml"],
    }


def _etcd(paths: ClusterPaths) -> Command:
    return [
        str(binary("etcd")),
        f"--data-dir={paths.root}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # the cluster is thrown away, never recovered from a power cut
        "--auto-compaction-retention=10m",
        "--log-level=warn",
    ]


def _apiserver(paths: ClusterPaths) -> Command:
    pki = paths.pki
    return [
        str(binary("kube-apiserver")),
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--advertise-address={CONTROL_PLANE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--audit-policy-file={paths.audit_policy}",
        f"--audit-log-path={paths.audit_log}",
        "--audit-log-maxsize=1000",  # MB, never reached: the log is read as one file
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        "--profiling=false",
    ]


def _controller_manager(paths: ClusterPaths) -> Command:
    pki = paths.pki
    return [
        str(binary("kube-controller-manager")),
        *_client_flags(f"{pki}/kube-controller-manager.kubeconfig"),
        "--use-service-account-credentials",
        f"--root-ca-file={pki}/ca.crt",
        f"--client-ca-file={pki}/ca.crt",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--allocate-node-cidrs",
        f"--cluster-cidr={CLUSTER_CIDR}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        # minutes in production; a test that watches an autoscaler cannot wait that long
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--horizontal-pod-autoscaler-downscale-stabilization=10s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=2s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=5s",
    ]


def _client_flags(kubeconfig: str) -> Command:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=500",  # the defaults (20, 50) make hundreds of pods wait for the client, not for the server
        "--kube-api-burst=1000",
    ]


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False)
