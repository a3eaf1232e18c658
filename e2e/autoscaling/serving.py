"""Stand-ins for vLLM as a Deployment behind a Service, with policy and profile, as plain dictionaries."""

from pathlib import Path

from e2e.autoscaling.external_metrics import NAMESPACE as METRICS_NAMESPACE
from e2e.autoscaling.external_metrics import SERVICE as METRICS_SERVICE
from e2e.manifests.serving import CONTAINER, DEPLOYMENT, NAMESPACE, POLICY, SELECTOR, Manifest
from e2e.manifests.standins import COMMAND, SERVE, profile_of
from turbospec.simulation.files import EngineFile, load
from turbospec.simulation.measure import profile
from turbospec.standin.facts import stand_in_facts
from turbospec.standin.options import StandInOptions

ENGINE = Path(__file__).with_name("engine.yaml")
ACCEPTANCE = 0.7
START_UP_SECONDS = 15
DRAIN_SECONDS = 15
"""A pod on its way out ends what it serves: no answer takes as long where load is low enough for pods to go."""
DRAFT_TOKENS = [0, 1, 3, 7]


def policy() -> Manifest:
    """Steers the stand-ins; what they are started with is theirs."""
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": POLICY, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": SELECTOR},
            "engine": {"container": CONTAINER},
            "speculation": {"draftTokens": DRAFT_TOKENS},
            "profiling": {"source": "Existing"},
        },
    }


def measured_profile() -> Manifest:
    """Of the stand-ins' step times, by the product's own sweep and fit on simulated time."""
    spec = load(ENGINE, EngineFile)
    return profile_of(stand_in_facts(spec, StandInOptions()).identity, profile(spec, seed=1))


def serving(image: str) -> list[Manifest]:
    """ENGINE.yaml, Deployment of one pod and Service."""
    meta = {"name": DEPLOYMENT, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {ENGINE.name: ENGINE.read_text()}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": SELECTOR},
                "template": {
                    "metadata": {"labels": SELECTOR | {"turbospec.io/inject": "true"}},
                    "spec": _pod(image),
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": SELECTOR, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    ]


def _pod(image: str) -> Manifest:
    container = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*COMMAND, *SERVE],
        "args": [
            f"/engine/{ENGINE.name}",
            "--address=0.0.0.0",
            f"--acceptance={ACCEPTANCE}",
            f"--start-up-seconds={START_UP_SECONDS}",
        ],
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1, "failureThreshold": 120},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "volumeMounts": [{"name": "engine", "mountPath": "/engine", "readOnly": True}],
    }
    return {
        "terminationGracePeriodSeconds": DRAIN_SECONDS + 5,
        "containers": [container],
        "volumes": [{"name": "engine", "configMap": {"name": DEPLOYMENT}}],
    }


def metrics_service(address: str, port: int) -> list[Manifest]:
    """Leads the API server to external metrics that are served outside of any pod."""
    meta = {"name": METRICS_SERVICE, "namespace": METRICS_NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": port}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{METRICS_SERVICE}-1",
                "namespace": METRICS_NAMESPACE,
                "labels": {"kubernetes.io/service-name": METRICS_SERVICE},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"port": port, "protocol": "TCP"}],
        },
    ]
