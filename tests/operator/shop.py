"""A namespace with a policy and engines on a real API server, and what plays scheduler, kubelet and Job controller."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess
from tests.operator.samples import KEY, engine_pod, policy, profile_result
from turbospec.profiling.codec import encode
from turbospec_operator.cluster import JOBS, PODS, POLICIES, PROFILES, Cluster, Kind, Raw
from turbospec_operator.manifests import timestamp

JOB = f"turbospec-profile-{KEY}"
STARTED = "2026-01-01T00:00:00Z"


async def add_engine(cluster: Cluster, namespace: str, name: str, engine: EngineStandIn, **metadata: Any) -> Raw:
    """A Running and Ready pod whose control port is this stand-in's."""
    pod = engine_pod(namespace, name, port=engine.port)
    pod["metadata"] |= metadata
    await cluster.create(PODS, namespace, pod)
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": STARTED}],
        "containerStatuses": [_container_status({"running": {"startedAt": STARTED}}, ready=True)],
    }
    return await cluster.patch_status(PODS, namespace, name, {"status": status})


@asynccontextmanager
async def governed_engine(
    cluster: Cluster, namespace: str, operator: OperatorProcess, **spec: Any
) -> AsyncIterator[EngineStandIn]:
    """An engine, a policy with this spec that selects it, and the operator, which starts with both of them there."""
    async with EngineStandIn() as engine:
        await add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, **spec))
        operator.start()
        yield engine


async def finish_job(
    cluster: Cluster, namespace: str, message: str | None = None, exit_code: int = 0, *, name: str = JOB
) -> None:
    """The Job's pod ends with this termination message (a good profile by default), then the Job does."""
    job = await cluster.get(JOBS, namespace, name)
    template = job["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-x1",
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": name,
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {**template["spec"], "nodeName": "node-1"},
    }
    await cluster.create(PODS, namespace, pod)
    text = encode(profile_result()) if message is None else message
    now = timestamp(time.time())
    ended = {"terminated": {"exitCode": exit_code, "message": text, "startedAt": STARTED, "finishedAt": now}}
    phase = "Succeeded" if exit_code == 0 else "Failed"
    status = {"phase": phase, "containerStatuses": [_container_status(ended, ready=False)]}
    await cluster.patch_status(PODS, namespace, f"{name}-x1", {"status": status})
    await cluster.patch_status(JOBS, namespace, name, {"status": _job_status(now, succeeded=exit_code == 0)})


async def found(cluster: Cluster, kind: Kind, namespace: str) -> list[Raw]:
    """All objects of a kind in the namespace."""
    return await cluster.list(kind, namespace)


async def policy_status(cluster: Cluster, namespace: str, name: str = "chat") -> Raw:
    """The policy's status as it is now."""
    return (await cluster.get(POLICIES, namespace, name)).get("status") or {}


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of a status; empty where there is none."""
    return next((each for each in status.get("conditions") or [] if each["type"] == kind), {})


async def profiles(cluster: Cluster, namespace: str) -> list[Raw]:
    """The profiles."""
    return await found(cluster, PROFILES, namespace)


def _container_status(state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    return {
        "name": "vllm", "image": "vllm", "imageID": "", "ready": ready, "restartCount": 0, "state": state
    }  # fmt: skip


def _job_status(now: str, *, succeeded: bool) -> dict[str, Any]:
    """As the Job controller writes it; the API server checks that it adds up."""
    done = {"status": "True", "lastTransitionTime": now, "lastProbeTime": now}
    if succeeded:
        kinds = ("SuccessCriteriaMet", "Complete")
        times = {"startTime": STARTED, "completionTime": now, "succeeded": 1}
    else:
        kinds = ("FailureTarget", "Failed")
        times = {"startTime": STARTED, "failed": 1}
    reason = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
    return {**times, "conditions": [{"type": kind, **done, **({} if succeeded else reason)} for kind in kinds]}


def dumps(raw: object) -> str:
    """Readable in a failure message."""
    return json.dumps(raw, indent=1, sort_keys=True)
