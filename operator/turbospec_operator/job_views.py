"""Profiling Jobs and their pods as the fleet snapshot's views: how they stand, what they measured, why they failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turbospec.fleet.snapshot import JobPhase, JobView
from turbospec.profiling.codec import CodecError, decode
from turbospec.wire.profile_result import ProfileResult
from turbospec_operator import names
from turbospec_operator.hardware_labels import refined
from turbospec_operator.views import seconds

Raw = Mapping[str, Any]

MAX_TEXT = 512
"""Characters of other programs' messages that we repeat."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result that a profiling pod left, and where it ran."""

    result: ProfileResult
    node: str | None
    image: str | None


def job_view(
    raw: Raw, pods: Sequence[Raw] | None, nodes: Mapping[str, Raw] | None = None
) -> tuple[JobView, Measured | None]:
    """One profiling Job and its result; ``pods`` are the pods of this Job, None where they could not be listed, and
    ``nodes`` what is known of nodes, by name."""
    meta = raw["metadata"]
    key = (meta.get("labels") or {}).get(names.LABEL_PROFILING_KEY, "")
    attempt = str((meta.get("annotations") or {}).get(names.ANNOTATION_ATTEMPT, "1"))
    phase, failure, finished = _job_phase(raw)
    measured, problem = _measured(pods or (), key, nodes or {})
    if phase is JobPhase.FAILED and measured is not None:
        # The result was there before the end: what went wrong then was the second start, without speculation.
        phase, failure = JobPhase.SUCCEEDED, ""
    elif phase is JobPhase.SUCCEEDED and measured is None and pods is not None:
        # Done, but what it left is unusable: that is a failure, and a new attempt is what helps.
        phase, failure = JobPhase.FAILED, problem
    elif failure.startswith("DeadlineExceeded") and not pods:
        failure += ". Its pod did not end in 40 minutes: it found no room or image, or its model loads for longer"
    elif phase is JobPhase.FAILED and pods is not None:
        failure = "; ".join(part for part in (problem, failure) if part)
    view = JobView(
        namespace=meta["namespace"],
        name=meta["name"],
        key=key,
        phase=phase,
        harvestable=phase is JobPhase.SUCCEEDED and measured is not None,
        failure=failure[:MAX_TEXT] if phase is JobPhase.FAILED else "",
        finished_seconds=finished,
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 1,
        waiting=_waiting(raw, pods or ())[:MAX_TEXT] if phase is JobPhase.RUNNING else "",
        node=_node(raw, pods or ()),
        unchecked=str((meta.get("annotations") or {}).get(names.ANNOTATION_UNCHECKED, ""))[:MAX_TEXT],
        created_seconds=seconds(meta.get("creationTimestamp")),
    )
    return view, measured if view.harvestable else None


def _job_phase(raw: Raw) -> tuple[JobPhase, str, float | None]:
    for each in (raw.get("status") or {}).get("conditions") or []:
        if each.get("status") != "True":
            continue
        if each.get("type") == "Complete":
            done = (raw.get("status") or {}).get("completionTime") or each.get("lastTransitionTime")
            return JobPhase.SUCCEEDED, "", seconds(done)
        if each.get("type") == "Failed":
            text = f"{each.get('reason', '')}: {each.get('message', '')}"
            return JobPhase.FAILED, text, seconds(each.get("lastTransitionTime"))
    return JobPhase.RUNNING, "", None


def _node(raw: Raw, pods: Sequence[Raw]) -> str | None:
    """Where its pod is, or where it was made for."""
    for pod in pods:
        node: str | None = (pod.get("spec") or {}).get("nodeName")
        if node:
            return node
    named: str | None = (raw["metadata"].get("annotations") or {}).get(names.ANNOTATION_NODE)
    return named


def _measured(pods: Sequence[Raw], key: str, nodes: Mapping[str, Raw]) -> tuple[Measured | None, str]:
    """The first usable result, else what the newest pod said, and what to do about it."""
    problem = "its pod is gone, and the result with it: its node was drained or lost, or somebody deleted it"
    newest_last = sorted(pods, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))
    for pod in newest_last:
        problem = _evicted(pod) or "its pod has not ended"
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (status.get("state") or {}).get("terminated")
            if not ended:
                continue
            try:
                result = decode(str(ended.get("message") or ""))
            except CodecError as error:
                problem = _evicted(pod) or _ended(ended, str(error), pod["metadata"]["name"])
                continue
            node = (pod.get("spec") or {}).get("nodeName")
            identity = refined(result.identity, nodes.get(str(node)), pod)
            if identity.key() != key:
                problem = f"it measured another engine ({identity.key()}) than the one that serves ({key})"
                continue
            container = (pod.get("spec") or {}).get("containers") or [{}]
            result = result.model_copy(update={"identity": identity})
            return Measured(result, node, container[0].get("image")), ""
    return None, problem


def _ended(ended: Raw, said: str, pod: str) -> str:
    """Why a container ended without a result. Out of memory goes before its last words, which could not know of it."""
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        return (
            f"its container ran out of memory (OOMKilled, exit code {code}): raise the memory limit in "
            "spec.profiling.job.resources, or in the serving pods' template if they are close to theirs"
        )
    return f"{said} (exit code {code}, see: kubectl logs {pod})"


def _evicted(pod: Raw) -> str:
    """Whether somebody took the pod away: the node was drained or ran out of something, or it was preempted."""
    status = pod.get("status") or {}
    for each in status.get("conditions") or []:
        if each.get("type") == "DisruptionTarget" and each.get("status") == "True":
            return f"its pod was taken away ({each.get('reason', '')}: {each.get('message', '')})"
    return f"its pod was evicted ({status.get('message', '')})" if status.get("reason") == "Evicted" else ""


_WAITING = {
    "ErrImagePull": "check spec.imagePullSecrets and the image of the serving pods' template",
    "ImagePullBackOff": "check spec.imagePullSecrets and the image of the serving pods' template",
    "InvalidImageName": "correct the image of the serving pods' template",
    "CreateContainerConfigError": "a Secret or ConfigMap that the serving container refers to is missing",
    "CreateContainerError": "see kubectl describe pod",
}


def _waiting(raw: Raw, pods: Sequence[Raw]) -> str:
    """Why the pod of a running Job does not run, and what to do; empty where it runs or will at once."""
    if (raw.get("spec") or {}).get("suspend"):
        queue = (raw["metadata"].get("labels") or {}).get(names.LABEL_KUEUE_QUEUE)
        by = f"Kueue has not admitted it to queue {queue} yet." if queue else "somebody has suspended it."
        return f"it is suspended: {by}"
    for pod in pods:
        status = pod.get("status") or {}
        for each in status.get("conditions") or []:
            if (each.get("type"), each.get("status"), each.get("reason")) == ("PodScheduled", "False", "Unschedulable"):
                return (
                    f"its pod cannot be scheduled ({each.get('message', '')}). Make room, or change "
                    f"spec.profiling.job; it is given up 40 minutes after it was created."
                )
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            held = (container.get("state") or {}).get("waiting") or {}
            if held.get("reason") in _WAITING:
                return f"{held['reason']} ({held.get('message', '')}): {_WAITING[held['reason']]}."
    return ""
