"""Kubernetes objects of a fleet of stand-ins: pods of our own image that answer as vLLM pods with TurboSpec do."""

import datetime as dt
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from e2e.manifests.serving import CONTAINER, NAMESPACE, Manifest
from turbospec.cli.demo.command import ENGINE
from turbospec.simulation.files import EngineFile
from turbospec.simulation.measure import Measured, profile
from turbospec.standin.facts import stand_in_facts
from turbospec.standin.options import StandInOptions
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import from_model
from turbospec.wire.speculation_profile import Provenance, SpeculationProfileSpec

CONFIG_MAP = "stand-in"
FOLDER = "/engine"
COMMAND = ("/opt/venv/bin/python", "-E", "-c", "import sys; from turbospec.cli.sim import sim; sim(sys.argv[2:])")
"""-E: injection puts the engine runtime on PYTHONPATH, where it would hide the rest of our package."""
SERVE = ("vllm", "serve")
"""Goes on with it: by these words the webhook finds where vLLM starts, and ``sim`` gets all but the first."""
PLAIN = {"speedup": 1.2, "kvCacheTokens": 480_000}


@dataclass(frozen=True, slots=True)
class Kind:
    """A Deployment of stand-ins, whose pods are hardware of their own by ``name``.

    ``app`` is the policy that governs them; ``draft_tokens`` what they allow (0 alone: nothing to steer). ``method``
    ``none``: they draft only where somebody adds ``--speculative-config`` to their command, as vLLM does.
    """

    name: str
    app: str
    replicas: int
    draft_tokens: tuple[int, ...] = (0, 1, 3, 7)
    inject: bool = True
    method: str = "eagle3"

    @property
    def engine(self) -> dict[str, Any]:
        """Its ENGINE.yaml."""
        return {**ENGINE, "allowedDraftTokens": list(self.draft_tokens), "plain": PLAIN}

    @property
    def identity(self) -> ProfileIdentity:
        """As its engines report it."""
        spec = EngineFile.model_validate(self.engine)
        return stand_in_facts(spec, StandInOptions(hardware=self.name, model=self.app, method=self.method)).identity


def config_map(kinds: tuple[Kind, ...]) -> Manifest:
    """The ENGINE.yaml of each."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
        "data": {f"{kind.name}.yaml": yaml.safe_dump(kind.engine) for kind in kinds},
    }


def deployment(kind: Kind, image: str) -> Manifest:
    """Its pods are spread over the nodes."""
    labels = {"app": kind.app, "kind": kind.name}
    inject = {"turbospec.io/inject": "true"} if kind.inject else {}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    options = ["--address", "0.0.0.0", "--hardware", kind.name, "--model", kind.app, "--method", kind.method]
    container = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "Never",
        "command": [*COMMAND, *SERVE, f"{FOLDER}/{kind.name}.yaml", *options],
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 2, "failureThreshold": 60},
        "volumeMounts": [{"name": "engine", "mountPath": FOLDER, "readOnly": True}],
    }
    pod = {
        "terminationGracePeriodSeconds": 2,
        "topologySpreadConstraints": [spread],
        "volumes": [{"name": "engine", "configMap": {"name": CONFIG_MAP}}],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": kind.name, "namespace": NAMESPACE},
        "spec": {
            "replicas": kind.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels | inject}, "spec": pod},
        },
    }


def policy(name: str, source: str) -> Manifest:
    """For the pods with label app=NAME."""
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "engine": {"container": CONTAINER},
            "profiling": {"source": source},
        },
    }


def measured_profile(kind: Kind, *, shared: bool = False) -> Manifest:
    """What a Job would have measured on these engines; ``shared``: the cluster's."""
    return profile_of(kind.identity, _measured(), shared=shared)


def profile_of(identity: ProfileIdentity, found: Measured, *, shared: bool = False) -> Manifest:
    """This measurement, as of engines of this identity two days ago."""
    document, measured = from_model(found.model), dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    spec = SpeculationProfileSpec(
        key=identity.key(),
        identity=identity,
        cells=document.cells,
        fit=document.fit,
        hold_out_error_permille=round(1000 * found.hold_out_error),
        provenance=Provenance(source="Job", measured_at=f"{measured:%Y-%m-%dT%H:%M:%SZ}", coverage="the whole grid"),
    )
    place = {} if shared else {"namespace": NAMESPACE}
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "ClusterSpeculationProfile" if shared else "SpeculationProfile",
        "metadata": {"name": f"profile-{identity.key()}", **place},
        "spec": spec.model_dump(by_alias=True, exclude_none=True),
    }


@cache
def _measured() -> Measured:
    return profile(EngineFile.model_validate(ENGINE), seed=0)


def autoscaler(kind: Kind, metric: str) -> Manifest:
    """An HPA on an external metric; where nobody serves that, it stays as it is and says so."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": kind.name}
    external = {"metric": {"name": metric}, "target": {"type": "Value", "value": "800m"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": kind.name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": kind.replicas,
            "maxReplicas": kind.replicas + 2,
            "metrics": [{"type": "External", "external": external}],
        },
    }
