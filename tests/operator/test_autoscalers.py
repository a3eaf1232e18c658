"""Autoscalers on a real API server: found with the selectors of what they scale, of custom kinds too."""

import json
from typing import Any

import pytest

from tests.operator import shop
from tests.operator.conftest import Lacking
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.permissions import RULES, user_in
from tests.operator.samples import policy
from tests.support.apiserver import ApiServer
from turbospec_operator.autoscalers import AutoscalerReader
from turbospec_operator.cluster import HPAS, POLICIES, Cluster, Raw

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

LABELS = {"app": "chat"}


def deployment(namespace: str) -> Raw:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "vllm", "image": "vllm"}]}},
        },
    }


def hpa(namespace: str, metric: str, **reference: str) -> Raw:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"} | reference
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "scaleTargetRef": target,
            "maxReplicas": 4,
            "metrics": [
                {
                    "type": "External",
                    "external": {"metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": "4"}},
                }
            ],
        },
    }


WORKERS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: leaderworkersets.leaderworkerset.x-k8s.io}
spec:
  group: leaderworkerset.x-k8s.io
  names: {plural: leaderworkersets, singular: leaderworkerset, kind: LeaderWorkerSet}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.hpaPodSelector
"""


async def condition(cluster: Cluster, namespace: str) -> Any:
    return shop.condition(await shop.policy_status(cluster, namespace), "ScalingCompatible")


async def test_a_workloads_selector_is_that_of_its_scale(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str
) -> None:
    # No controller runs here: the selector is of the spec, and known at once.
    stateful = deployment(namespace) | {"kind": "StatefulSet"}
    stateful["spec"] |= {"serviceName": "chat"}
    other = hpa(namespace, "turbospec_offered_load_ratio", kind="StatefulSet")
    other["metadata"]["name"] = "stateful"
    api_with_crds.apply(deployment(namespace), hpa(namespace, "turbospec_offered_load_ratio"), stateful, other)
    views, denied = await AutoscalerReader(cluster, namespace).read({namespace})
    assert denied == ()
    assert sorted((view.target, view.selector, view.current) for view in views) == [
        ("deployment/chat", "app=chat", None),
        ("statefulset/chat", "app=chat", None),
    ]
    assert (await AutoscalerReader(cluster, None).read({"elsewhere"}))[0] == ()


async def test_a_custom_kind_is_linked_by_its_scale_too(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str
) -> None:
    api_with_crds.kubectl("apply", "-f", "-", manifest=WORKERS)
    api_with_crds.kubectl(
        "wait", "--for=condition=Established", "--timeout=60s", "crd", "leaderworkersets.leaderworkerset.x-k8s.io"
    )
    kind = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet"}
    workers: Raw = {**kind, "metadata": {"name": "chat", "namespace": namespace}, "spec": {"replicas": 1}}
    api_with_crds.apply(workers, hpa(namespace, "m", **kind))
    selected = json.dumps({"status": {"replicas": 1, "hpaPodSelector": "leaderworkerset.sigs.k8s.io/name=chat"}})
    api_with_crds.kubectl(
        "patch", "leaderworkerset", "chat", "-n", namespace, "--subresource=status", "--type=merge", "-p", selected
    )
    ((view,), _) = await AutoscalerReader(cluster, namespace).read({namespace})
    assert (view.target, view.selector) == ("leaderworkerset/chat", "leaderworkerset.sigs.k8s.io/name=chat")


@pytest.mark.parametrize("reference", [{"name": "gone"}, {"apiVersion": "no.such/v1", "kind": "Nothing"}])
async def test_a_target_that_is_gone_has_no_selector_and_holds_nothing_up(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, reference: dict[str, str]
) -> None:
    api_with_crds.apply(hpa(namespace, "m", **reference))
    ((view,), denied) = await AutoscalerReader(cluster, namespace).read({namespace})
    assert (view.selector, denied) == (None, ())


async def test_the_policy_says_within_a_minute_what_its_autoscaler_had_better_read(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """From a metric that speculation distorts to one that it does not, as the status of the policy sees it."""
    operator_process.environment["KUBECONFIG"] = str(user_in(api_with_crds, namespace, RULES))
    api_with_crds.apply(deployment(namespace), hpa(namespace, "vllm_num_requests_running"))
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))
        operator_process.start()

        async def warned() -> bool:
            found = await condition(cluster, namespace)
            return found.get("status") == "False" and "vllm_num_requests_running" in found["message"]

        await eventually("the warning", warned, operator_process)
        found = await condition(cluster, namespace)
        assert "name: turbospec_expected_pods_at_full_load" in found["message"]
        better = hpa(namespace, "turbospec_offered_load_ratio")
        api_with_crds.kubectl("replace", "-f", "-", manifest=json.dumps(better))

        async def content() -> bool:
            return bool((await condition(cluster, namespace)).get("status") == "True")

        await eventually("the all-clear", content, operator_process)
        assert [each["metadata"]["name"] for each in await shop.found(cluster, HPAS, namespace)] == ["chat"]
        assert "cannot" not in operator_process.log()


@pytest.mark.parametrize(
    ("verb", "resource", "named"),
    [
        ("list", "horizontalpodautoscalers", "list horizontalpodautoscalers.autoscaling"),
        ("get", "*/scale", "get deployments.apps/scale"),
    ],
)
async def test_a_missing_permission_is_named_and_control_goes_on(
    api_with_crds: ApiServer,
    cluster: Cluster,
    namespace: str,
    operator_lacking: Lacking,
    *,
    verb: str,
    resource: str,
    named: str,
) -> None:
    operator = operator_lacking(verb, resource)
    api_with_crds.apply(deployment(namespace), hpa(namespace, "turbospec_offered_load_ratio"))
    async with shop.governed_engine(cluster, namespace, operator, speculation={"draftTokens": [5]}):

        async def told() -> bool:
            status = await shop.policy_status(cluster, namespace)
            return status.get("controlled") == 1 and named in shop.condition(status, "Permitted").get("message", "")

        await eventually(named, told, operator)
