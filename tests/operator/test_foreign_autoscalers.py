"""Autoscalers that are no HorizontalPodAutoscaler, as their resources say, and on a real API server."""

from typing import Any

import pytest

from tests.operator.foreign_kinds import served
from tests.support.apiserver import ApiServer
from turbospec.fleet.autoscalers import ForeignAutoscaler
from turbospec_operator.cluster import Cluster
from turbospec_operator.foreign_autoscalers import ForeignReader, pod_autoscaler, variant_autoscaling

REFERENCE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}


def raw(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": "chat-1", "annotations": annotations}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ({"scaleTargetRef": REFERENCE}, "deployment/chat"),
        ({"scaleTargetRef": {"kind": "LeaderWorkerSet", "name": "chat"}}, "leaderworkerset/chat"),
        ({"modelID": "m"}, "deployment/chat-1"),
        ({}, "deployment/chat-1"),
    ],
)
def test_a_variant_names_its_target_or_has_its_name(spec: dict[str, Any], target: str) -> None:
    assert variant_autoscaling(raw(**spec)) == ForeignAutoscaler("team", "chat-1", "WVA", target)


@pytest.mark.parametrize(
    ("annotations", "metric"),
    [
        (None, "concurrency"),
        ({"autoscaling.knative.dev/metric": "rps"}, "requests_per_second (rps)"),
        ({"autoscaling.knative.dev/metric": "mine"}, "mine"),
        ({"autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev"}, "concurrency"),
    ],
)
def test_knative_says_what_it_goes_by(annotations: dict[str, str] | None, metric: str) -> None:
    found = pod_autoscaler(raw(annotations, scaleTargetRef=REFERENCE))
    assert found == ForeignAutoscaler("team", "chat-1", "Knative", "deployment/chat", metric)


def test_where_knative_leaves_it_to_an_hpa_that_one_counts() -> None:
    assert pod_autoscaler(raw({"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"})) is None


@pytest.mark.apiserver
@pytest.mark.timeout(180)
async def test_what_is_not_installed_is_not_missed_and_what_is_is_found(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str
) -> None:
    assert await ForeignReader(cluster, namespace).read({namespace}) == ((), ())
    with served(api_with_crds):
        variant = {"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling"}
        meta = {"name": "chat", "namespace": namespace}
        api_with_crds.apply({**variant, "metadata": meta, "spec": {"scaleTargetRef": REFERENCE}})
        found = ForeignAutoscaler(namespace, "chat", "WVA", "deployment/chat")
        assert await ForeignReader(cluster, None).read({namespace}) == ((found,), ())
        assert await ForeignReader(cluster, None).read({"elsewhere"}) == ((), ())
