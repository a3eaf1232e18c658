"""ClusterSpeculationProfiles on a real API server: who may list them uses them, who may not does without."""

import secrets

import pytest

from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.permissions import CLUSTER_WIDE, RULES, cluster_user
from tests.operator.samples import policy, profile_result
from tests.support.apiserver import ApiServer
from turbospec.fleet.effects import HarvestProfile
from turbospec_operator import manifests
from turbospec_operator.cluster import CLUSTER_PROFILES, JOBS, POLICIES, Cluster, Raw
from turbospec_operator.job_views import Measured

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]


def cluster_profile(name: str) -> Raw:
    """The profile of the stand-in's key, as an administrator shares it."""
    spec = manifests.profile(HarvestProfile("", "job", name), Measured(profile_result(), None, None), None)["spec"]
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "ClusterSpeculationProfile",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.mark.usefixtures("nothing_elsewhere")
@pytest.mark.parametrize("may_list", [True, False])
async def test_a_shared_profile_controls_engines_of_every_namespace_without_a_job(
    api_with_crds: ApiServer,
    cluster: Cluster,
    namespace: str,
    operator_process: OperatorProcess,
    *,
    may_list: bool,
) -> None:
    """Without the permission it is named as missing, and the hardware is measured as if there were none."""
    rules = (*RULES, *CLUSTER_WIDE) if may_list else (*RULES, CLUSTER_WIDE[0])
    user = cluster_user(api_with_crds, f"shared-{namespace}", rules)
    operator_process.environment |= {"KUBECONFIG": str(user), "TURBOSPEC_WATCH_NAMESPACE": ""}
    name = f"chat-{secrets.token_hex(4)}"
    await cluster.create(CLUSTER_PROFILES, "", cluster_profile(name))
    try:
        async with EngineStandIn() as engine:
            await shop.add_engine(cluster, namespace, "chat-1", engine)
            await cluster.create(POLICIES, namespace, policy(namespace))
            operator_process.start()

            async def told() -> Raw | None:
                status = await shop.policy_status(cluster, namespace)
                if may_list:
                    return status if status.get("controlled") == 1 else None
                there = await shop.found(cluster, JOBS, namespace)
                return status if there and shop.condition(status, "Permitted") else None

            status = await eventually("a status", told, operator_process)
            if may_list:
                assert status["profile"] == f"clusterspeculationprofile/{name}"
                assert not await shop.found(cluster, JOBS, namespace)
            else:
                assert "list clusterspeculationprofiles.turbospec.io" in shop.condition(status, "Permitted")["message"]
    finally:
        api_with_crds.kubectl("delete", "clusterspeculationprofile", name)
