"""What node labels say about hardware: which nodes are of one kind, and what an engine cannot see of its own.

An engine reports its accelerator's name, memory and count, or its CPU (``turbospec.engine.hardware``). It cannot see
that others compute on the same GPU by turns, nor, through NVML, that it holds a slice of one. Labels come from
NVIDIA's GPU feature discovery, AMD's node labeller, node feature discovery, and cloud providers.
"""

from collections.abc import Mapping
from typing import Any

from turbospec.wire.identity import ProfileIdentity

Raw = Mapping[str, Any]

IDENTIFYING = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "amd.com/gpu.product-name",
    "amd.com/gpu.device-id",
    "beta.amd.com/gpu.device-id",
    "feature.node.kubernetes.io/cpu-model.id",
    "node.kubernetes.io/instance-type",
)
"""Labels of which one at least must be there to say what a node is."""

REFINING = (
    "kubernetes.io/arch",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.replicas",
    "nvidia.com/gpu.sharing-strategy",
    "nvidia.com/mig.strategy",
    "nvidia.com/mig.config",
    "cloud.google.com/gke-gpu-partition-size",
    "cloud.google.com/gke-gpu-sharing-strategy",
    "cloud.google.com/gke-max-shared-clients-per-gpu",
    "amd.com/gpu.vram",
    "amd.com/gpu.compute-memory-partition",
    "feature.node.kubernetes.io/cpu-model.vendor_id",
    "feature.node.kubernetes.io/cpu-model.family",
)
"""Labels in which nodes of one product may differ."""

GPU_RESOURCES = ("nvidia.com/", "amd.com/")
"""How the extended resources begin that hand out GPUs, or slices of them."""

Kind = tuple[tuple[str, str], ...]


def node_kind(node: Raw) -> Kind:
    """Nodes of equal kind have equal hardware. One that nothing identifies is a kind of its own, never "other"."""
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    capacity: Mapping[str, str] = (node.get("status") or {}).get("capacity") or {}
    if not any(label in labels for label in IDENTIFYING) or _unnamed_devices(labels, capacity):
        return (("node", node["metadata"]["name"]),)
    said = tuple((label, labels[label]) for label in (*IDENTIFYING, *REFINING) if label in labels)
    return (*said, ("cpu", str(capacity.get("cpu", ""))))


def _unnamed_devices(labels: Mapping[str, str], capacity: Mapping[str, str]) -> bool:
    """Accelerators of which no label tells the product: the CPU's labels do not say what they are."""
    devices = [name for name in capacity if "/" in name and not name.startswith("attachable-volumes")]
    named = any(label in labels for label in IDENTIFYING if "cpu-model" not in label)
    return bool(devices) and not named


def unseen(node: Raw, pod: Raw) -> str:
    """What this pod's engine cannot see of its hardware: `` / MIG 1g.10gb / time-slicing 4``; empty for nothing."""
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    resources = _accelerators(pod)
    if not needed(pod):
        return ""
    parts = [part for part in (_slice(labels, resources), _sharing(labels, resources), _partition(labels)) if part]
    return "".join(f" / {part}" for part in parts)


def refined(identity: ProfileIdentity, node: Raw | None, pod: Raw) -> ProfileIdentity:
    """The identity that an engine in this pod reports, with what it cannot see added to its hardware."""
    more = "" if node is None else unseen(node, pod)
    return identity.model_copy(update={"hardware": f"{identity.hardware}{more}"}) if more else identity


def needed(pod: Raw) -> bool:
    """Whether labels of its node could say more of this pod's hardware than its engine: they cannot where it has no
    accelerator."""
    return any(name.startswith(GPU_RESOURCES) for name in _accelerators(pod))


def _accelerators(pod: Raw) -> tuple[str, ...]:
    """Extended resources that some container of the pod gets."""
    containers = (pod.get("spec") or {}).get("containers") or []
    limits = [(each.get("resources") or {}).get("limits") or {} for each in containers]
    return tuple(sorted({name for each in limits for name in each if "/" in name}))


def _slice(labels: Mapping[str, str], resources: tuple[str, ...]) -> str:
    """The MIG profile: of the resource under strategy ``mixed``, of the product's label under ``single``."""
    mixed = [name.removeprefix("nvidia.com/mig-").removesuffix(".shared") for name in resources if "/mig-" in name]
    if mixed:
        return f"MIG {','.join(mixed)}"
    product = labels.get("nvidia.com/gpu.product", "")
    if "-MIG-" in product:
        return f"MIG {product.partition('-MIG-')[2].removesuffix('-SHARED')}"
    size = labels.get("cloud.google.com/gke-gpu-partition-size")
    return f"MIG {size}" if size else ""


def _sharing(labels: Mapping[str, str], resources: tuple[str, ...]) -> str:
    """How many clients the device is handed out to, and how they share it."""
    names = [name.removesuffix(".shared") for name in resources if name.startswith("nvidia.com/")]
    for name in names:
        replicas = labels.get(f"{name}.replicas", "")
        if replicas.isdigit() and int(replicas) > 1:
            strategy = labels.get(f"{name}.sharing-strategy", "")
            return f"{strategy if strategy not in ('', 'none') else 'time-slicing'} {replicas}"
    clients = labels.get("cloud.google.com/gke-max-shared-clients-per-gpu", "")
    if clients.isdigit() and int(clients) > 1:
        return f"{labels.get('cloud.google.com/gke-gpu-sharing-strategy', 'time-sharing')} {clients}"
    return ""


def _partition(labels: Mapping[str, str]) -> str:
    return labels.get("amd.com/gpu.compute-memory-partition", "")
