"""Where the cluster keeps what it builds and runs: one cache folder per user, one state folder per cluster."""

import os
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_root() -> Path:
    """The user's TurboSpec cache: `$TURBOSPEC_CACHE`, else `$XDG_CACHE_HOME/turbospec`, else `~/.cache/turbospec`."""
    if own := os.environ.get("TURBOSPEC_CACHE"):
        return Path(own).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "turbospec"


def binary_folder() -> Path:
    """The folder of the built Kubernetes binaries."""
    return cache_root() / "bin"


def binary(name: str) -> Path:
    """Path of one built binary.

    Raises:
        ClusterError: it has not been built yet.
    """
    path = binary_folder() / name
    if not path.exists():
        raise ClusterError(f"{path} is missing; build it with: python -m e2e.cluster build --only {name}")
    return path


@dataclass(frozen=True, slots=True)
class ClusterPaths:
    """Every file of one running cluster lies under `root`, so that taking it down can remove one folder."""

    name: str

    @property
    def root(self) -> Path:
        return cache_root() / "run" / self.name

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig_inside(self) -> Path:
        """For clients inside the cluster's network namespace."""
        return self.root / "kubeconfig-inside"

    @property
    def kubeconfig(self) -> Path:
        """For clients on the machine itself, through the loopback bridge."""
        return self.root / "kubeconfig"

    @property
    def api_socket(self) -> Path:
        """Unix socket of the API server: paths, unlike addresses, are shared between network namespaces."""
        return self.root / "apiserver.sock"

    @property
    def audit_policy(self) -> Path:
        return self.root / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        """What TurboSpec's own service accounts have asked of the API server, an event a line."""
        return self.root / "audit.log"

    @property
    def state_file(self) -> Path:
        return self.root / "cluster.json"

    @property
    def snapshot_file(self) -> Path:
        """What the machine looked like before `up`. Outside `root`: it must outlive the cluster to judge its end."""
        return self.root.with_name(f"{self.name}.before.json")

    def node(self, node: str) -> Path:
        return self.root / node
