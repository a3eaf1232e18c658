"""Every way in which a profiling Job goes wrong is said in its view, with what to do."""

from typing import Any

import pytest

from tests.operator.samples import IDENTITY, KEY, profile_result
from turbospec.fleet.snapshot import JobPhase
from turbospec.profiling.codec import encode, encode_failure
from turbospec_operator.job_views import job_view

LOST = "vLLM ended before it served"
FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}
DEADLINE = {**FAILED, "reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline"}
COMPLETE = {"type": "Complete", "status": "True"}


def job(*conditions: dict[str, str], suspend: bool = False, **labels: str) -> dict[str, Any]:
    """A Job with these conditions."""
    return {
        "metadata": {
            "name": "job",
            "namespace": "shop",
            "labels": {"turbospec.io/profiling-key": KEY, **labels},
            "annotations": {"turbospec.io/node": "node-1", "turbospec.io/unchecked": "list nodes in all namespaces"},
        },
        "spec": {"suspend": suspend},
        "status": {"conditions": list(conditions)},
    }


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """Its pod, with its one container in this state."""
    containers = [] if state is None else [{"name": "vllm", "state": state}]
    return {
        "metadata": {"name": "job-x1"},
        "spec": {"containers": [{"name": "vllm", "image": "vllm:1"}]},
        "status": {"containerStatuses": containers, **status},
    }


def ended(message: str, code: int = 1, reason: str = "Error") -> dict[str, Any]:
    """A pod whose container has ended."""
    return pod({"terminated": {"exitCode": code, "message": message, "reason": reason}})


def test_a_result_counts_however_the_job_ended() -> None:
    """It was complete before the engine's second start, without speculation, ran out of memory."""
    view, measured = job_view(job(FAILED), [ended(encode(profile_result()), 137, "OOMKilled")])
    assert (view.phase, view.harvestable, view.failure) == (JobPhase.SUCCEEDED, True, "")
    assert measured is not None


def forged() -> str:
    """A message of a sound form about an engine that is not the one that serves."""
    other = IDENTITY.model_copy(update={"target": "another-model"})
    return encode(profile_result(other))


DRAINED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "draining node-1",
}


@pytest.mark.parametrize(
    ("condition", "pods", "said"),
    [
        (FAILED, [ended(encode_failure(LOST), 137, "OOMKilled")], "OOMKilled, exit code 137): raise the memory"),
        (FAILED, [ended(encode_failure(LOST))], "vLLM ended before it served (exit code 1, see: kubectl logs job-x1)"),
        (FAILED, [pod({"terminated": {"exitCode": 143}}, conditions=[DRAINED])], "taken away (EvictionByEvictionAPI"),
        (FAILED, [pod(None, reason="Evicted", message="low on memory")], "evicted (low on memory)"),
        (FAILED, [], "its node was drained or lost, or somebody deleted it"),
        (DEADLINE, [], "found no room or image, or its model loads for longer"),
        (COMPLETE, [ended(encode(profile_result())[:-40], 0)], "truncated"),
        (COMPLETE, [ended(encode(profile_result()).replace("1", "2", 5), 0)], "exit code 0, see: kubectl logs job-x1"),
        (COMPLETE, [ended(forged(), 0)], "it measured another engine"),
        (COMPLETE, [ended("", 0)], "without a word"),
    ],
    ids=[
        "out of memory", "arguments refused, model missing", "node drained", "evicted", "pod gone", "deadline",
        "truncated", "tampered with", "forged", "silent",
    ],
)  # fmt: skip
def test_a_failed_job_says_why_and_what_to_do(condition: dict[str, str], pods: list[dict[str, Any]], said: str) -> None:
    """And nothing of it is taken for a profile."""
    view, measured = job_view(job(condition), pods)
    assert view.phase is JobPhase.FAILED
    assert measured is None
    assert said in view.failure


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available",
}


def held(reason: str) -> dict[str, Any]:
    """A container that cannot start."""
    return {"waiting": {"reason": reason, "message": "back-off"}}


@pytest.mark.parametrize(
    ("raw", "pods", "said"),
    [
        (job(), [pod(None, conditions=[UNSCHEDULABLE])], "cannot be scheduled (0/3 nodes are available). Make room"),
        (job(), [pod(held("ImagePullBackOff"))], "ImagePullBackOff (back-off): check spec.imagePullSecrets"),
        (job(), [pod(held("ErrImagePull"))], "ErrImagePull"),
        (job(), [pod(held("CreateContainerConfigError"))], "a Secret or ConfigMap"),
        (job(), [pod(None, initContainerStatuses=[{"state": held("ErrImagePull")}])], "ErrImagePull"),
        (job(), [pod(held("ContainerCreating"))], ""),
        (job(), [pod({"running": {}})], ""),
        (job(), [], ""),
        (job(suspend=True), [], "suspended: somebody"),
        (job(suspend=True, **{"kueue.x-k8s.io/queue-name": "gpus"}), [], "Kueue has not admitted it to queue gpus"),
    ],
)
def test_a_job_that_waits_says_for_what(raw: dict[str, Any], pods: list[dict[str, Any]], said: str) -> None:
    """It may still get it; starting takes a while, and is not waiting."""
    view, _ = job_view(raw, pods)
    assert view.phase is JobPhase.RUNNING
    assert said in view.waiting
    assert bool(view.waiting) is bool(said)
    assert (view.node, view.unchecked) == ("node-1", "list nodes in all namespaces")
