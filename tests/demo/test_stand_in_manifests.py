"""The stand-ins' Kubernetes objects: what the webhook makes of them, and what their profiles are for."""

import pytest
import yaml

from e2e.manifests.standins import COMMAND, FOLDER, Kind, config_map, deployment, measured_profile, policy
from turbospec.simulation.files import EngineFile
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec.wire.speculation_profile import SpeculationProfileSpec
from turbospec_operator.injection import Runtime, inject

CHAT = Kind("chat", "chat", 3)
RUNTIME = Runtime(hash="0123456789ab", master_key=b"k" * 32)


def test_the_policy_has_them_injected_and_their_command_ignores_what_that_adds() -> None:
    """The engine runtime on PYTHONPATH holds no stand-in, and would hide the package that does."""
    spec = SpeculationPolicySpec.model_validate(policy("chat", "Existing")["spec"])
    template = deployment(CHAT, "image")["spec"]["template"]
    assert inject(template, "demo", spec, RUNTIME, "n" * 32).injected
    assert COMMAND[1] == "-E"


def test_each_kind_finds_its_engine_file() -> None:
    """Under the name in its command."""
    kinds = (CHAT, Kind("plain", "batch", 1, draft_tokens=(0,)))
    files = config_map(kinds)["data"]
    for kind in kinds:
        (container,) = deployment(kind, "image")["spec"]["template"]["spec"]["containers"]
        (path,) = [word for word in container["command"] if word.startswith(FOLDER)]
        spec = EngineFile.model_validate(yaml.safe_load(files[path.removeprefix(f"{FOLDER}/")]))
        assert spec.allowed == kind.draft_tokens


@pytest.mark.parametrize("shared", [False, True])
def test_a_profile_is_that_of_its_kind_and_of_no_other(shared: bool) -> None:
    """By the key that its engines report."""
    made = measured_profile(CHAT, shared=shared)
    spec = SpeculationProfileSpec.model_validate(made["spec"])
    assert spec.key == CHAT.identity.key() == spec.identity.key()
    assert spec.key != Kind("search", "search", 3).identity.key()
    assert ("namespace" in made["metadata"]) is not shared
