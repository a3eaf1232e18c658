"""Kubernetes objects of the demo and the end-to-end tests, as plain dictionaries."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.load.requests import SERVED_MODEL
from e2e.vllm.install import VllmInstallation

Manifest = dict[str, Any]

NAMESPACE = "demo"
POLICY = "chat"
DEPLOYMENT = "chat"
SELECTOR = {"app": "chat"}
CONTAINER = "vllm"
KV_CACHE_BYTES = 640 * 1024 * 1024
"""Room for 16 requests of 512 tokens on the widest model (69 kB a token)."""
MAX_NUM_SEQS = 16
MAX_MODEL_LEN = 512
"""The longest prompt of the demo and its answer fit; profiling measures no longer contexts than it needs."""
SCRATCH = "/scratch"


@dataclass(frozen=True)
class Serving:
    """vLLM servers of one model.

    With ``host_paths`` vLLM and the model are mounted read-only from the node, at their own paths; without, the image
    holds ``vllm`` on its PATH and the model as ``/models/NAME``. ``cpus`` is a limit, for nodes that have no more:
    engines with another one are another kind of hardware; ``node`` is where they run, None anywhere.
    """

    vllm: VllmInstallation
    model: Path
    image: str
    host_paths: bool = True
    replicas: int = 2
    profile_seconds: int = 140
    name: str = DEPLOYMENT
    labels: tuple[tuple[str, str], ...] = tuple(SELECTOR.items())
    inject: bool = True
    cpus: str | None = None
    node: str | None = None


def namespace(name: str = NAMESPACE) -> Manifest:
    """The namespace that serves."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def policy(
    draft_tokens: list[int], *, prompt_lookup_min: int, loop: str = "Local", name: str = POLICY, **spec: Any
) -> Manifest:
    """n-gram speculation for the pods of the Deployment; a single draft length pins K."""
    speculation = {
        "method": "ngram",
        "promptLookupMin": prompt_lookup_min,
        "promptLookupMax": 4,
        "draftTokens": draft_tokens,
    }
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": SELECTOR},
            "engine": {"container": CONTAINER, "loop": loop},
            "speculation": speculation,
            **spec,
        },
    }


def deployment(serving: Serving) -> Manifest:
    """The Deployment. Nothing in it speaks of speculation: the policy adds that when pods are created."""
    labels = dict(serving.labels)
    inject = {"turbospec.io/inject": "true"} if serving.inject else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": serving.name, "namespace": NAMESPACE},
        "spec": {
            "replicas": serving.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels | inject}, "spec": _pod(serving)},
        },
    }


def _pod(serving: Serving) -> Manifest:
    host_paths = [*serving.vllm.mounts, serving.model] if serving.host_paths else []
    names = [f"host-{index}" for index in range(len(host_paths))]
    volumes = [{"name": name, "hostPath": {"path": str(path)}} for name, path in zip(names, host_paths, strict=True)]
    mounts = [
        {"name": name, "mountPath": str(path), "readOnly": True} for name, path in zip(names, host_paths, strict=True)
    ]
    container = {
        "name": CONTAINER,
        "image": serving.image,
        "imagePullPolicy": "IfNotPresent",
        "command": _command(serving),
        "env": [{"name": name, "value": value} for name, value in _environment(serving).items()],
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": _resources(serving),
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1, "failureThreshold": 900},
        "volumeMounts": [
            *mounts,
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 (the container's, not ours)
            {"name": "scratch", "mountPath": SCRATCH},
        ],
    }
    return {
        **({"nodeSelector": {"kubernetes.io/hostname": serving.node}} if serving.node else {}),
        "terminationGracePeriodSeconds": 5,
        "volumes": [
            *volumes,
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "scratch", "emptyDir": {}},
        ],
        "containers": [container],
    }


def _resources(serving: Serving) -> dict[str, Any]:
    # a share of the CPU that holds against the cluster's own parts; no limit unless asked for, which is another machine
    limits = {"limits": {"cpu": serving.cpus}} if serving.cpus else {}
    return {"requests": {"cpu": "250m" if serving.cpus else "500m", "memory": "1Gi"}, **limits}


def _command(serving: Serving) -> list[str]:
    vllm = str(serving.vllm.command) if serving.host_paths else "vllm"
    model = str(serving.model) if serving.host_paths else f"/models/{serving.model.name}"
    return [
        vllm, "serve", model, "--served-model-name", SERVED_MODEL,
        "--host", "0.0.0.0", "--port", "8000",
        "--dtype", "bfloat16", "--enforce-eager", "--max-model-len", str(MAX_MODEL_LEN),
        "--max-num-seqs", str(MAX_NUM_SEQS),
        # small prefill chunks: one of 512 tokens would hold all answers up for a second on one CPU thread
        "--max-num-batched-tokens", "256",
        "--kv-cache-memory-bytes", str(KV_CACHE_BYTES),
        # every arm of the demo sends the same prompts
        "--no-enable-prefix-caching",
    ]  # fmt: skip


def _environment(serving: Serving) -> dict[str, str]:
    preload = {"LD_PRELOAD": f"libtcmalloc_minimal.so.4:{serving.vllm.openmp}"} if serving.host_paths else {}
    return preload | {
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process less per server
        "OMP_NUM_THREADS": "1",
        # n-gram drafting through numba would raise OpenMP's threads to the number of CPUs with its first draft, for the
        # model too: two servers on two CPUs then wait for each other's spinning threads, three times as long a step
        "NUMBA_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",  # the image has no C++ compiler: a request for logprobs would end the engine
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # left to itself every server binds its thread to the first core
        "TURBOSPEC_PROFILE_SECONDS": str(serving.profile_seconds),
        "TURBOSPEC_PROFILE_PLAIN_SECONDS": "0",  # a second start would hold the demo up for a minute and a half
    }
