"""The demo's Kubernetes objects."""

from pathlib import Path

import pytest

from e2e.manifests.serving import Serving, deployment, policy
from e2e.vllm.install import VllmInstallation
from turbospec.wire.speculation_policy import SpeculationPolicySpec

SERVING = Serving(VllmInstallation(Path("/cache/vllm")), Path("/cache/models/dial"), "localhost/base:1")


def test_nothing_in_the_pod_speaks_of_speculation() -> None:
    """What the engines are started with comes from the policy, through the webhook."""
    assert "specul" not in str(deployment(SERVING)["spec"]["template"]["spec"])


def test_everything_mounted_from_the_node_is_read_only_and_at_its_own_path() -> None:
    """A virtual environment holds absolute paths, and a serving pod must not change what the next one reads."""
    pod = deployment(SERVING)["spec"]["template"]["spec"]
    host_paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert host_paths
    assert all(mounts[name] == {"name": name, "mountPath": path, "readOnly": True} for name, path in host_paths.items())


@pytest.mark.parametrize("draft_tokens", [[0, 1, 3, 5], [0], [5]])
def test_the_policy_is_one_that_our_models_accept(draft_tokens: list[int]) -> None:
    """Unknown fields and wrong types are refused by the wire model, as by the CRD."""
    spec = SpeculationPolicySpec.model_validate(policy(draft_tokens, prompt_lookup_min=1)["spec"])
    assert spec.speculation.draft_tokens == draft_tokens
