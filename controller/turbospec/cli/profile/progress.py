"""How far profiling Jobs are: phase from the Job, percent and seconds from the runner's own lines in the pod's log."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from turbospec.cli.errors import CommandError
from turbospec.cli.kube import JOB_LABEL, Kube, Raw
from turbospec.profiling.progress import last_said

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """One Job. ``percent`` and ``seconds_left`` are None where the runner has not said them (yet)."""

    namespace: str
    job: str
    key: str
    phase: str
    percent: int | None
    seconds_left: int | None
    message: str

    def as_json(self) -> dict[str, Any]:
        """With camelCase names, as all else that this command prints."""
        fields = asdict(self)
        fields["secondsLeft"] = fields.pop("seconds_left")
        return fields


def observe(kube: Kube, namespace: str | None) -> list[Progress]:
    """Every profiling Job of the namespace (None: of all), by name. Raises CommandError where they cannot be listed."""
    jobs = kube.profiling_jobs(namespace)
    running = any(_phase(job)[0] == RUNNING for job in jobs)
    pods = kube.profiling_pods(namespace) if running else []
    found = [_progress(kube, job, [pod for pod in pods if _owned(pod, job)]) for job in jobs]
    return sorted(found, key=lambda each: (each.namespace, each.job))


def _progress(kube: Kube, job: Raw, pods: Sequence[Raw]) -> Progress:
    meta = job["metadata"]
    phase, message = _phase(job)
    percent, left = (100, 0) if phase == SUCCEEDED else (None, None)
    if phase == RUNNING:
        message, percent, left = _of_pod(kube, pods)
    return Progress(
        meta["namespace"], meta["name"], (meta.get("labels") or {}).get(JOB_LABEL, ""), phase, percent, left, message
    )


def _of_pod(kube: Kube, pods: Sequence[Raw]) -> tuple[str, int | None, int | None]:
    if not pods:
        return "its pod is not there yet", None, None
    pod = max(pods, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))
    status: Mapping[str, Any] = pod.get("status") or {}
    if status.get("phase", "Pending") == "Pending":
        return f"pod {pod['metadata']['name']} is Pending{_why_pending(status)}", None, None
    try:
        line, percent, left = last_said(kube.log(pod["metadata"]["namespace"], pod["metadata"]["name"]))
    except CommandError as error:
        return str(error), None, None
    return line or "vLLM starts", percent, left


def _why_pending(status: Mapping[str, Any]) -> str:
    """What the scheduler or the kubelet said of it."""
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f": {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f": {condition.get('message', '')}".rstrip(": ")
    return ""


def _phase(job: Raw) -> tuple[str, str]:
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("status") == "True" and each.get("type") == "Complete":
            return SUCCEEDED, "done"
        if each.get("status") == "True" and each.get("type") == "Failed":
            return FAILED, f"{each.get('reason', '')}: {each.get('message', '')}".strip(": ")
    return RUNNING, ""


def _owned(pod: Raw, job: Raw) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == job["metadata"]["uid"] for owner in owners)
