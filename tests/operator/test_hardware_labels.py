"""What node labels add to the hardware that an engine reports of itself."""

from typing import Any

import pytest

from tests.operator.samples import IDENTITY, KEY, engine_state, profile_result
from turbospec.profiling.codec import encode
from turbospec.wire.engine_state import EngineState
from turbospec_operator import engine_views
from turbospec_operator.hardware_labels import refined, unseen
from turbospec_operator.job_views import job_view

SHARED = {
    "nvidia.com/gpu.product": "Tesla-T4-SHARED",
    "nvidia.com/gpu.replicas": "4",
    "nvidia.com/gpu.sharing-strategy": "time-slicing",
}


def node(labels: dict[str, str]) -> dict[str, Any]:
    """A node with these labels."""
    return {"metadata": {"name": "node-1", "labels": labels}}


def pod(resource: str | None = "nvidia.com/gpu") -> dict[str, Any]:
    """A pod that gets one of this resource."""
    limits = {} if resource is None else {resource: "1"}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "node-1", "containers": [{"resources": {"limits": limits}}]},
    }


@pytest.mark.parametrize(
    ("labels", "resource", "expected"),
    [
        ({"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.replicas": "1"}, "nvidia.com/gpu", ""),
        ({"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.sharing-strategy": "none"}, "nvidia.com/gpu", ""),
        (SHARED, "nvidia.com/gpu", " / time-slicing 4"),
        (SHARED, "nvidia.com/gpu.shared", " / time-slicing 4"),
        (SHARED | {"nvidia.com/gpu.sharing-strategy": "mps"}, "nvidia.com/gpu", " / mps 4"),
        ({"nvidia.com/gpu.replicas": "4"}, "nvidia.com/gpu", " / time-slicing 4"),
        ({"nvidia.com/gpu.replicas": "many"}, "nvidia.com/gpu", ""),
        ({"nvidia.com/gpu.product": "A100-SXM4-80GB-MIG-1g.10gb"}, "nvidia.com/gpu", " / MIG 1g.10gb"),
        ({"nvidia.com/gpu.product": "A100-MIG-1g.10gb-SHARED", "nvidia.com/gpu.replicas": "2"}, "nvidia.com/gpu",
         " / MIG 1g.10gb / time-slicing 2"),
        ({"nvidia.com/gpu.product": "A100-SXM4-80GB"}, "nvidia.com/mig-2g.20gb", " / MIG 2g.20gb"),
        ({"nvidia.com/mig-2g.20gb.replicas": "3"}, "nvidia.com/mig-2g.20gb", " / MIG 2g.20gb / time-slicing 3"),
        ({"cloud.google.com/gke-gpu-partition-size": "1g.5gb"}, "nvidia.com/gpu", " / MIG 1g.5gb"),
        ({"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
          "cloud.google.com/gke-max-shared-clients-per-gpu": "8"}, "nvidia.com/gpu", " / time-sharing 8"),
        ({"amd.com/gpu.compute-memory-partition": "cpx_nps4"}, "amd.com/gpu", " / cpx_nps4"),
        (SHARED, None, ""),
        ({}, "nvidia.com/gpu", ""),
    ],
)  # fmt: skip
def test_sharing_and_slices_are_told_by_labels(labels: dict[str, str], resource: str | None, expected: str) -> None:
    """NVIDIA's, GKE's and AMD's; a pod without an accelerator shares none, whatever its node has."""
    assert unseen(node(labels), pod(resource)) == expected


def test_what_an_engine_cannot_see_is_in_its_key() -> None:
    """A quarter of a GPU is other hardware; nodes that may not be read, or say nothing, leave the engine's word."""
    state = EngineState.model_validate(engine_state())
    assert engine_views.engine_report(state).profile_key == KEY
    assert engine_views.engine_report(state, pod(), None).profile_key == KEY
    assert engine_views.engine_report(state, pod(), node({})).profile_key == KEY
    shared = engine_views.engine_report(state, pod(), node(SHARED)).profile_key
    assert shared == refined(IDENTITY, node(SHARED), pod()).key() != KEY


@pytest.mark.parametrize(("labels", "fits"), [(SHARED, True), ({}, False), ({"nvidia.com/gpu.replicas": "2"}, False)])
def test_a_result_is_of_the_hardware_that_its_own_node_has(labels: dict[str, str], *, fits: bool) -> None:
    """Measured on a whole GPU it does not count for a quarter of one; the profile's identity says it all."""
    wanted = refined(IDENTITY, node(SHARED), pod())
    job = {
        "metadata": {"name": "job", "namespace": "shop", "labels": {"turbospec.io/profiling-key": wanted.key()}},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
    ended = pod()
    ended["status"] = {"containerStatuses": [{"state": {"terminated": {"message": encode(profile_result())}}}]}
    view, measured = job_view(job, [ended], {"node-1": node(labels)})
    assert view.harvestable is fits
    if fits:
        assert measured is not None
        assert measured.result.identity == wanted
        assert measured.result.identity.hardware.endswith(" / time-slicing 4")
    else:
        assert "another engine" in view.failure
