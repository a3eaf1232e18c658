"""The operator under RBAC: the documented permissions suffice, and a missing one is named while the rest goes on."""

import pytest

from tests.operator import shop
from tests.operator.conftest import Lacking
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.permissions import CLUSTER_WIDE, RULES, cluster_user, grant, user_in, without
from tests.operator.samples import cells_answer, policy
from tests.support.apiserver import ApiServer
from turbospec_operator.cluster import EVENTS, JOBS, POLICIES, Cluster

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]


async def test_the_documented_permissions_suffice(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """From pods to a controlled engine without one request refused."""
    operator_process.environment["KUBECONFIG"] = str(user_in(api_with_crds, namespace, RULES))
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace))
        operator_process.start()

        async def job() -> bool:
            return bool(await shop.found(cluster, JOBS, namespace))

        await eventually("a Job", job, operator_process)
        await shop.finish_job(cluster, namespace)

        async def settled() -> bool:
            status = await shop.policy_status(cluster, namespace)
            return shop.condition(status, "Ready").get("status") == "True"

        await eventually("a Ready policy", settled, operator_process)
        assert await shop.found(cluster, EVENTS, namespace)
        assert "cannot" not in operator_process.log()
        _, metrics = operator_process.get("/metrics")
        assert "turbospec_operator_denied_permissions 0.0" in metrics


@pytest.mark.usefixtures("nothing_elsewhere")
async def test_all_namespaces_are_governed_with_the_cluster_wide_permissions(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """Without a namespace to watch, policies everywhere count."""
    user = cluster_user(api_with_crds, f"all-{namespace}", (*RULES, *CLUSTER_WIDE))
    operator_process.environment |= {"KUBECONFIG": str(user), "TURBOSPEC_WATCH_NAMESPACE": ""}
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))
        operator_process.start()

        async def controlled() -> bool:
            return (await shop.policy_status(cluster, namespace)).get("controlled") == 1

        await eventually("a controlled engine", controlled, operator_process)
        assert "watching stopped" not in operator_process.log()


@pytest.mark.parametrize(
    ("verb", "resource", "named"),
    [
        ("list", "pods", "list pods"),
        ("list", "jobs", "list jobs.batch"),
        ("list", "speculationprofiles", "list speculationprofiles.turbospec.io"),
        ("create", "configmaps", "create configmaps"),
    ],
)
async def test_a_missing_permission_is_named_in_the_status_and_the_rest_goes_on(
    cluster: Cluster, namespace: str, operator_lacking: Lacking, *, verb: str, resource: str, named: str
) -> None:
    """The policy's conditions say verb and resource; the operator stays ready and goes on deciding."""
    operator = operator_lacking(verb, resource)
    async with shop.governed_engine(cluster, namespace, operator):

        async def told() -> bool:
            conditions = (await shop.policy_status(cluster, namespace)).get("conditions", [])
            return any(f"{named} in {namespace}" in each["message"] for each in conditions)

        await eventually(f"{named} in the status", told, operator)

        async def is_ready() -> bool:
            return operator.get("/readyz") == (200, "ok\n")

        await eventually("readiness", is_ready, operator)


async def test_where_jobs_are_forbidden_profiles_grow_until_they_are_allowed(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """No human step: the condition says why and which command allows Jobs; with the right there, the Job is made."""
    user = user_in(api_with_crds, namespace, without("create", "jobs"))
    operator_process.environment["KUBECONFIG"] = str(user)

    async def profiled(reason: str) -> str | None:
        found = shop.condition(await shop.policy_status(cluster, namespace), "Profiled")
        return found["message"] if found.get("reason") == reason else None

    async with EngineStandIn() as engine:
        engine.cells = cells_answer()
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace))
        operator_process.start()

        async def grown() -> bool:
            message = await profiled("ProfileGrownWithoutJob")
            return message is not None and "kubectl create rolebinding turbospec-profiling" in message

        await eventually("a profile that has grown", grown, operator_process)
        grant(api_with_crds, namespace, RULES)
        operator_process.kill()  # the same one would try again within 30 s, a new one does so at once
        operator_process.start()

        async def measuring() -> bool:
            jobs = await shop.found(cluster, JOBS, namespace)
            return len(jobs) == 1 and await profiled("ProfileStale") is not None

        await eventually("a Job", measuring, operator_process)


@pytest.mark.parametrize(
    ("verb", "resource", "named"),
    [
        ("update", "leases", "cannot update leases.coordination.k8s.io"),
        ("create", "secrets", "cannot create secrets"),
        ("list", "speculationpolicies", "cannot list speculationpolicies.turbospec.io"),
    ],
)
async def test_an_operator_that_cannot_work_at_all_is_not_ready_and_says_why(
    api_with_crds: ApiServer,
    cluster: Cluster,
    namespace: str,
    operator_lacking: Lacking,
    *,
    verb: str,
    resource: str,
    named: str,
) -> None:
    """Unknown is never guessed: without an epoch, a key or policies nothing is pushed. It stays alive meanwhile."""
    if resource == "leases":
        api_with_crds.kubectl("create", "-n", namespace, "-f", "-", manifest=_LEASE)
    operator = operator_lacking(verb, resource)
    async with shop.governed_engine(cluster, namespace, operator, speculation={"draftTokens": [5]}) as engine:

        async def unready() -> bool:
            status, text = operator.get("/readyz")
            return status == 503 and named in text

        await eventually(named, unready, operator)
        assert operator.get("/healthz") == (200, "ok\n")
        assert engine.documents == []


async def test_without_watching_the_lists_alone_suffice(
    cluster: Cluster, namespace: str, operator_lacking: Lacking
) -> None:
    """kopf gives up where a watch is forbidden; the fleet loop finds a new policy by itself."""
    operator_process = operator_lacking("watch", "speculationpolicies")
    operator_process.start()

    async def stopped() -> bool:
        return "watching stopped" in operator_process.log()

    await eventually("kopf to give up", stopped, operator_process)
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))

        async def controlled() -> bool:
            return bool(engine.documents)

        await eventually("a document", controlled, operator_process)


_LEASE = """
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: turbospec-operator}
spec: {holderIdentity: operator-0, leaseTransitions: 7}
"""
