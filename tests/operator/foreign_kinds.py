"""The resources of autoscalers that are no HPA, for an API server that has none of those systems."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.apiserver import ApiServer


def _definition(group: str, plural: str, kind: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "scope": "Namespaced",
            "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": schema}],
        },
    }


DEFINITIONS = (
    _definition("llmd.ai", "variantautoscalings", "VariantAutoscaling"),
    _definition("autoscaling.internal.knative.dev", "podautoscalers", "PodAutoscaler"),
)


@contextmanager
def served(api: ApiServer) -> Iterator[None]:
    """WVA's and Knative's kinds are served within the block."""
    names = [f"crd/{each['metadata']['name']}" for each in DEFINITIONS]
    api.apply(*DEFINITIONS)
    try:
        api.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        yield
    finally:
        api.kubectl("delete", *names)
