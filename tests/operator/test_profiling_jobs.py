"""Creating a Job: the node, the quotas and the permissions that it takes, and what is said where one is missing."""

from typing import Any, cast

import pytest

from tests.operator.samples import engine_pod
from tests.operator.test_placement import node, quota
from turbospec.fleet.effects import CreateProfilingJob
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator.cluster import (
    JOBS,
    NODES,
    PODS,
    RESOURCE_QUOTAS,
    ApiError,
    Cluster,
    DeniedError,
    ExistsError,
    Kind,
    Raw,
)
from turbospec_operator.profiling_jobs import Installation, JobCreator, ObstacleError

EFFECT = CreateProfilingJob("shop", "job", "00", "chat-1", "chat", "uid", (0, 1), 1, nodes=("gpu-1",))
HERE = Installation("turbospec-system:turbospec-operator", namespaced=False, priority_class="turbospec-profiling")


class FakeCluster:
    """Answers with what it was given; ``errors`` by kind go before that."""

    def __init__(self) -> None:
        self.nodes = [node("gpu-1"), node("gpu-2")]
        self.bound: dict[str, list[Raw]] = {}
        self.quotas: list[Raw] = []
        self.errors: dict[Kind, ApiError] = {}
        self.created: list[Raw] = []

    async def get(self, _kind: Kind, namespace: str, name: str) -> Raw:
        """The serving pod, which asks for one GPU."""
        pod = engine_pod(namespace, name)
        pod["spec"]["nodeName"] = "gpu-1"
        pod["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
        return pod

    async def list(
        self, kind: Kind, _namespace: str | None, _labels: str | None = None, fields: str | None = None
    ) -> list[Raw]:
        """Nodes, quotas, or the pods of a node."""
        if kind in self.errors:
            raise self.errors[kind]
        if kind is PODS:
            return self.bound.get(str(fields).removeprefix("spec.nodeName="), [])
        return self.nodes if kind is NODES else self.quotas

    async def create(self, kind: Kind, _namespace: str, body: Raw) -> Raw:
        """Keeps the Job."""
        if kind in self.errors:
            raise self.errors[kind]
        self.created.append(body)
        return body


def denied(verb: str, kind: Kind, namespace: str | None = "shop") -> DeniedError:
    """As the API server's RBAC says it."""
    return DeniedError(verb, kind, namespace, 403, f"cannot {verb} resource")


async def create(cluster: FakeCluster, effect: CreateProfilingJob = EFFECT, **profiling: Any) -> Raw:
    """The Job that is created."""
    spec = SpeculationPolicySpec.model_validate({"selector": {"matchLabels": {"app": "chat"}}, "profiling": profiling})
    await JobCreator(cast(Cluster, cluster), HERE).create(effect, spec)
    (job,) = cluster.created
    return job


def named(job: Raw) -> str:
    """The node that its pod must go to."""
    affinity = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (field,) = term["matchFields"]
    assert field["key"] == "metadata.name"
    return str(field["values"][0])


FULL: list[Raw] = [{"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "4"}}}]}, "status": {}}]


@pytest.mark.parametrize(
    ("bound", "busy", "expected"),
    [({}, (), "gpu-1"), ({"gpu-1": FULL}, (), "gpu-2"), ({}, ("gpu-1",), "gpu-2")],
    ids=["its serving pod's", "that one is full", "another Job measures there"],
)
async def test_the_job_is_made_for_a_named_node_that_has_room(
    bound: dict[str, list[Raw]], busy: tuple[str, ...], expected: str
) -> None:
    """So no autoscaler adds one for it."""
    cluster = FakeCluster()
    cluster.bound = bound
    job = await create(cluster, CreateProfilingJob(*_fields(), nodes=("gpu-1",), busy_nodes=busy))
    assert named(job) == expected == job["metadata"]["annotations"]["turbospec.io/node"]
    assert job["spec"]["template"]["spec"]["priorityClassName"] == "turbospec-profiling"


async def test_without_room_there_is_no_job_and_every_node_says_why() -> None:
    """With what to do about it."""
    cluster = FakeCluster()
    cluster.bound = {"gpu-1": FULL}
    cluster.nodes[1]["spec"]["unschedulable"] = True
    with pytest.raises(ObstacleError, match=r"gpu-1 has not enough nvidia.com/gpu \(1 needed.*gpu-2 is cordoned.*May"):
        await create(cluster)
    assert cluster.created == []


async def test_where_nodes_may_come_up_the_instance_type_is_named() -> None:
    """However full the nodes are that there are."""
    cluster = FakeCluster()
    cluster.nodes[0]["metadata"]["labels"] = {"node.kubernetes.io/instance-type": "g6.xlarge"}
    cluster.bound = {"gpu-1": FULL, "gpu-2": FULL}
    job = await create(cluster, CreateProfilingJob(*_fields(), nodes=("gpu-1",), may_provision=True))
    spec = job["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"node.kubernetes.io/instance-type": "g6.xlarge"}
    assert "affinity" not in spec


@pytest.mark.parametrize("kind", [NODES, PODS])
async def test_without_a_look_at_nodes_it_goes_to_its_serving_pods_own(kind: Kind) -> None:
    """And the Job says which permission is missing."""
    cluster = FakeCluster()
    cluster.errors = {kind: denied("list", kind, None)}
    job = await create(cluster)
    assert named(job) == "gpu-1"
    assert job["metadata"]["annotations"]["turbospec.io/unchecked"] == f"list {kind.plural} in all namespaces"


async def test_a_quota_without_room_is_named() -> None:
    """Quotas that may not be read hold all the same, at the API server."""
    cluster = FakeCluster()
    cluster.quotas = [quota({"pods": "1"}, {"pods": "1"})]
    with pytest.raises(ObstacleError, match=r"ResourceQuota team has not enough pods.*Raise the quota"):
        await create(cluster)
    cluster.errors = {RESOURCE_QUOTAS: denied("list", RESOURCE_QUOTAS)}
    assert await create(cluster)


async def test_a_missing_permission_comes_with_the_command_that_grants_it() -> None:
    """In this namespace, for this operator."""
    cluster = FakeCluster()
    cluster.errors = {JOBS: denied("create", JOBS)}
    command = (
        "kubectl create rolebinding turbospec-profiling -n shop --clusterrole=turbospec-profiling "
        "--serviceaccount=turbospec-system:turbospec-operator"
    )
    with pytest.raises(ObstacleError) as caught:
        await create(cluster)
    assert "may not create jobs.batch in shop" in str(caught.value)
    assert command in str(caught.value)
    assert caught.value.forbidden


async def test_what_admission_refuses_is_said_and_a_silent_api_server_is_asked_again() -> None:
    """A refusal waits for a person; no answer does not."""
    cluster = FakeCluster()
    cluster.errors = {JOBS: ApiError("create", JOBS, "shop", 403, 'admission webhook "policy" denied the request')}
    with pytest.raises(ObstacleError, match="denied the request") as caught:
        await create(cluster)
    assert not caught.value.forbidden
    cluster.errors = {JOBS: ApiError("create", JOBS, "shop", None, "no answer")}
    with pytest.raises(ApiError):
        await create(cluster)


async def test_a_job_that_is_there_already_is_what_was_wanted() -> None:
    """Another operator, or this one before it was killed, has made it."""
    cluster = FakeCluster()
    cluster.errors = {JOBS: ExistsError("create", JOBS, "shop", 409, "already exists")}
    spec = SpeculationPolicySpec.model_validate({"selector": {"matchLabels": {"app": "chat"}}})
    await JobCreator(cast(Cluster, cluster), HERE).create(EFFECT, spec)


def _fields() -> tuple[str, str, str, str, str, str, tuple[int, ...], int]:
    return ("shop", "job", "00", "chat-1", "chat", "uid", (0, 1), 1)
