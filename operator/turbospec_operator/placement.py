"""On which existing node a profiling pod fits, by the scheduler's main rules. Pure.

Naming the node keeps autoscalers out: no node that they could buy has its name. The scheduler still decides, and
preempts nobody for it; this only keeps Jobs away from nodes that are full, so that they do not wait where nothing
becomes free.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from turbospec_operator.hardware_labels import node_kind
from turbospec_operator.resources import Amounts, amounts, lacking, pod_amounts, total

Raw = Mapping[str, Any]

_REPELLING = ("NoSchedule", "NoExecute")


def candidates(nodes: Iterable[Raw], serving: Sequence[str]) -> tuple[list[Raw], list[Raw]]:
    """The nodes that serve with the key, in their order, and the others whose hardware is that of one of these."""
    by_name = {node["metadata"]["name"]: node for node in nodes}
    kinds = {node_kind(by_name[name]) for name in serving if name in by_name}
    others = sorted(name for name, node in by_name.items() if name not in serving and node_kind(node) in kinds)
    return [by_name[name] for name in serving if name in by_name], [by_name[name] for name in others]


def closed(node: Raw, spec: Raw) -> str:
    """Why no pod with this spec may go to the node, however empty it is; "" where it may."""
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    if (node.get("spec") or {}).get("unschedulable"):
        return "is cordoned"
    conditions = (node.get("status") or {}).get("conditions") or []
    if not any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions):
        return "is not Ready"
    wanted = spec.get("nodeSelector") or {}
    missing = [f"{label}={value}" for label, value in sorted(wanted.items()) if labels.get(label) != value]
    if missing:
        return f"has not the labels {', '.join(missing)}"
    taints = (node.get("spec") or {}).get("taints") or []
    repelled = [taint for taint in taints if taint.get("effect") in _REPELLING and not _tolerated(taint, spec)]
    return f"has the taint {repelled[0]['key']}, which is not tolerated" if repelled else ""


def full(node: Raw, pods: Iterable[Raw], spec: Raw) -> str:
    """What the pod needs and the node has not left; "" where it fits. ``pods`` are all that are bound to the node."""
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    there = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    used = total([pod_amounts(pod["spec"]) for pod in there] + [{"pods": Decimal(len(there))}])
    free = {name: amount - used.get(name, Decimal(0)) for name, amount in allocatable.items()}
    need: Amounts = {**pod_amounts(spec), "pods": Decimal(1)}
    missing = lacking(need, free)
    return f"has not enough {missing}" if missing else ""


def named(node: str) -> dict[str, Any]:
    """The node affinity that no other node meets: by the name itself, for its label may say something else."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = [{"matchFields": [field]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def like(node: Raw | None, pod: Raw) -> dict[str, Any]:
    """The node selector and affinity of a pod that a new node may come up for: those of the serving pod, and the
    instance type of its node, where that is known; ``named`` its node where nothing else leads to such hardware."""
    spec = pod["spec"]
    affinity = (
        {"nodeAffinity": spec["affinity"]["nodeAffinity"]} if (spec.get("affinity") or {}).get("nodeAffinity") else {}
    )
    labels = {} if node is None else node["metadata"].get("labels") or {}
    kind = {name: labels[name] for name in ("node.kubernetes.io/instance-type",) if name in labels}
    selector = {**(spec.get("nodeSelector") or {}), **kind}
    if not kind:
        return {"affinity": named(spec["nodeName"])}
    return {"nodeSelector": selector, **({"affinity": affinity} if affinity else {})}


def _tolerated(taint: Raw, spec: Raw) -> bool:
    return any(_tolerates(each, taint) for each in spec.get("tolerations") or [])


def _tolerates(toleration: Raw, taint: Raw) -> bool:
    """As k8s.io/api's ToleratesTaint: an empty key with Exists tolerates every taint, an empty effect every effect."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")
