"""Finding a node for a profiling Job: of the same hardware, open to it, with room; and quotas."""

from typing import Any

import pytest

from turbospec_operator.hardware_labels import node_kind
from turbospec_operator.placement import candidates, closed, full, like, named
from turbospec_operator.quotas import exceeded
from turbospec_operator.resources import amounts, pod_amounts

L40S = {"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068", "kubernetes.io/arch": "amd64"}


def node(name: str = "gpu-1", labels: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A Ready node with four GPUs."""
    has = {"cpu": "16", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "4"}
    return {
        "metadata": {"name": name, "labels": L40S if labels is None else labels},
        "spec": {key: value for key, value in changes.items() if key in ("taints", "unschedulable")},
        "status": {
            "allocatable": changes.get("allocatable", has),
            "capacity": changes.get("allocatable", has),
            "conditions": [{"type": "Ready", "status": changes.get("ready", "True")}],
        },
    }


def spec(gpus: int = 1, **changes: Any) -> dict[str, Any]:
    """A pod spec that asks for CPUs, memory and GPUs."""
    resources = {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"nvidia.com/gpu": str(gpus)}}
    return {"containers": [{"name": "vllm", "resources": resources}], **changes}


def bound(gpus: int = 1, phase: str = "Running") -> dict[str, Any]:
    """A pod that is on the node."""
    return {"spec": spec(gpus), "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"kubernetes.io/hostname": "another", "topology.kubernetes.io/zone": "b"}, True),
        ({"nvidia.com/gpu.product": "NVIDIA-L4"}, False),
        ({"nvidia.com/gpu.memory": "23034"}, False),
        ({"nvidia.com/mig.config": "all-1g.6gb"}, False),
        ({"nvidia.com/gpu.replicas": "4"}, False),
        ({"feature.node.kubernetes.io/cpu-model.id": "17"}, False),
    ],
)
def test_nodes_are_of_one_kind_where_all_that_tells_hardware_is_equal(other: dict[str, str], *, same: bool) -> None:
    """Product, memory, slices, sharing and CPU; not name or zone."""
    assert (node_kind(node()) == node_kind(node("gpu-2", L40S | other))) is same


@pytest.mark.parametrize(
    ("labels", "allocatable"),
    [
        ({}, {"cpu": "8"}),
        ({"kubernetes.io/arch": "amd64"}, {"cpu": "8"}),
        ({"feature.node.kubernetes.io/cpu-model.id": "17"}, {"cpu": "8", "vendor.example/npu": "1"}),
    ],
    ids=["no labels", "nothing that identifies", "an accelerator that no label names"],
)
def test_unknown_hardware_is_a_kind_of_its_own(labels: dict[str, str], allocatable: dict[str, str]) -> None:
    """Never "other": two nodes of which nothing is known need not be alike."""
    kinds = {node_kind(node(name, labels, allocatable=allocatable)) for name in ("a", "b")}
    assert len(kinds) == 2


def test_serving_nodes_come_first_and_only_their_kind() -> None:
    """What serves with the key has its hardware for certain."""
    nodes = [
        node("gpu-3"),
        node("gpu-1"),
        node("cpu-1", {}),
        node("gpu-2"),
        node("l4", {"nvidia.com/gpu.product": "L4"}),
    ]
    serving, others = candidates(nodes, ["gpu-2", "gone"])
    assert [each["metadata"]["name"] for each in serving] == ["gpu-2"]
    assert [each["metadata"]["name"] for each in others] == ["gpu-1", "gpu-3"]


TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("changes", "pod", "why"),
    [
        ({}, {}, ""),
        ({"unschedulable": True}, {}, "cordoned"),
        ({"ready": "Unknown"}, {}, "not Ready"),
        ({"taints": [TAINT]}, {}, "taint nvidia.com/gpu"),
        ({"taints": [{**TAINT, "effect": "PreferNoSchedule"}]}, {}, ""),
        ({"taints": [TAINT]}, {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}, ""),
        ({"taints": [TAINT]}, {"tolerations": [{"operator": "Exists"}]}, ""),
        ({"taints": [TAINT]}, {"tolerations": [{"key": "nvidia.com/gpu", "value": "present"}]}, ""),
        ({"taints": [TAINT]}, {"tolerations": [{"key": "nvidia.com/gpu", "value": "absent"}]}, "taint"),
        ({"taints": [TAINT]}, {"tolerations": [{"key": "nvidia.com/gpu", "effect": "NoExecute"}]}, "taint"),
        ({}, {"nodeSelector": {"pool": "spare"}}, "pool=spare"),
        ({}, {"nodeSelector": {"kubernetes.io/arch": "amd64"}}, ""),
    ],
)
def test_a_node_is_open_by_the_schedulers_rules(changes: dict[str, Any], pod: dict[str, Any], why: str) -> None:
    """Cordoned, not Ready, tainted, or of other labels than the policy wants."""
    found = closed(node(**changes), spec(**pod))
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize(
    ("pods", "needs", "why"),
    [
        ([], spec(4), ""),
        ([bound(3)], spec(1), ""),
        ([bound(4)], spec(1), "nvidia.com/gpu (1 needed, 0 free)"),
        ([bound(4, "Succeeded")], spec(1), ""),
        ([bound(1)] * 4, spec(0), "cpu (4 needed, 0 free)"),
        (
            [],
            {"containers": [{"resources": {"requests": {"memory": "65Gi"}}}]},
            "memory (66560Mi needed, 65536Mi free)",
        ),
        ([], {"containers": [{"resources": {"limits": {"vendor.example/npu": "1"}}}]}, "vendor.example/npu"),
        ([{"spec": {}, "status": {}}] * 110, {"containers": []}, "pods (1 needed, 0 free)"),
    ],
)
def test_a_node_has_room_for_what_is_asked_beside_what_is_there(
    pods: list[dict[str, Any]], needs: dict[str, Any], why: str
) -> None:
    """Every resource counts, also one that the node has none of; pods that have ended do not."""
    found = full(node(), pods, needs)
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"containers": [{"resources": {"requests": {"cpu": "1"}}}, {}]}, {"cpu": "1"}),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, {"cpu": "2"}),
        ({"containers": [{"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]}, {"cpu": "1"}),
        (
            {
                "initContainers": [{"resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}],
                "containers": [{"resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}],
            },
            {"cpu": "3", "memory": "2Gi"},
        ),
        (
            {
                "initContainers": [
                    {"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                    {"resources": {"requests": {"cpu": "1500m"}}},
                ],
                "containers": [{"resources": {"requests": {"cpu": "1"}}}],
                "overhead": {"cpu": "250m"},
            },
            {"cpu": "2.75"},
        ),
    ],
    ids=["sum", "limits count as requests", "requests go first", "init containers", "sidecars and overhead"],
)
def test_a_pod_asks_for_what_the_scheduler_counts(pod: dict[str, Any], expected: dict[str, str]) -> None:
    """The documented rule for init containers, sidecars and overhead."""
    assert pod_amounts(pod) == amounts(expected)


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **limits: Any) -> dict[str, Any]:
    """A ResourceQuota with its status."""
    return {
        "metadata": {"name": "team"},
        "spec": {"hard": hard, **limits},
        "status": {"hard": hard, "used": used or {}},
    }


LOW = {"scopeName": "PriorityClass", "operator": "In", "values": ["low"]}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (quota({"pods": "3"}, {"pods": "2"}), ""),
        (quota({"pods": "3"}, {"pods": "3"}), "pods (1 needed, 0 free)"),
        (quota({"count/jobs.batch": "0"}), "count/jobs.batch"),
        (quota({"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "4"}), "requests.nvidia.com/gpu"),
        (quota({"cpu": "10"}, {"cpu": "7"}), "cpu (4 needed, 3 free)"),
        (quota({"requests.memory": "16Gi"}, {}), ""),
        (quota({"configmaps": "1"}, {"configmaps": "1"}), ""),
        (quota({"pods": "0"}, scopes=["Terminating"]), ""),
        (quota({"pods": "0"}, scopes=["NotTerminating"]), "pods"),
        (quota({"pods": "0"}, scopes=["BestEffort"]), ""),
        (quota({"pods": "0"}, scopes=["NotBestEffort"]), "pods"),
        (quota({"pods": "0"}, scopeSelector={"matchExpressions": [LOW]}), ""),
        (quota({"pods": "0"}, scopeSelector={"matchExpressions": [{**LOW, "values": ["batch"]}]}), "pods"),
        (quota({"pods": "0"}, scopeSelector={"matchExpressions": [{**LOW, "operator": "NotIn"}]}), "pods"),
        (quota({"pods": "0"}, scopeSelector={"matchExpressions": [{**LOW, "operator": "Exists"}]}), "pods"),
        (quota({"pods": "0"}, scopeSelector={"matchExpressions": [{**LOW, "operator": "DoesNotExist"}]}), ""),
    ],
)
def test_a_quota_that_the_job_would_exceed_is_named(given: dict[str, Any], why: str) -> None:
    """By what it counts and whom it is for; a Job whose pods are refused would stand there without one."""
    found = exceeded([given], spec(priorityClassName="batch"))
    assert why in found
    assert bool(found) is bool(why)
    assert not found or found.startswith("ResourceQuota team")


def test_a_named_node_is_met_by_no_node_that_could_be_bought() -> None:
    """By its name, which is unique, and not by a label, which a template of nodes may carry."""
    (term,) = named("gpu-1")["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}]}


def test_a_node_that_may_be_bought_is_of_the_same_instance_type() -> None:
    """With the serving pod's own selector and affinity; where the type is unknown, only the serving node will do."""
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}},
        "podAntiAffinity": {},
    }
    pod = {"spec": {"nodeName": "gpu-1", "nodeSelector": {"pool": "gpu"}, "affinity": affinity}}
    typed = node(labels={"node.kubernetes.io/instance-type": "g6.xlarge"})
    assert like(typed, pod) == {
        "nodeSelector": {"pool": "gpu", "node.kubernetes.io/instance-type": "g6.xlarge"},
        "affinity": {"nodeAffinity": affinity["nodeAffinity"]},
    }
    assert like(node(), pod) == like(None, pod) == {"affinity": named("gpu-1")}
