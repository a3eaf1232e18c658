"""The stand-ins' Kubernetes objects: what the webhook makes of them, and what their profiles are for."""

from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from click.testing import CliRunner

from e2e.manifests.standins import COMMAND, FOLDER, Kind, config_map, deployment, measured_profile, policy
from tests.webhook.test_injection import patched
from turbospec.cli.sim import sim
from turbospec.fleet.snapshot import StartupVariant
from turbospec.simulation.files import EngineFile
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec.wire.speculation_profile import SpeculationProfileSpec
from turbospec_operator.injection import Runtime, inject
from turbospec_operator.startup import Startup

CHAT = Kind("chat", "chat", 3)
NGRAM = {"method": "ngram", "draftTokens": [0, 3]}
RUNTIME = Runtime(hash="0123456789ab", master_key=b"k" * 32)


def test_the_policy_has_them_injected_and_their_command_ignores_what_that_adds() -> None:
    """The engine runtime on PYTHONPATH holds no stand-in, and would hide the package that does."""
    spec = SpeculationPolicySpec.model_validate(policy("chat", "Existing")["spec"])
    template = deployment(CHAT, "image")["spec"]["template"]
    assert inject(template, "demo", spec, RUNTIME, "n" * 32).injected
    assert COMMAND[1] == "-E"


def test_the_drafter_that_a_policy_names_reaches_them_as_it_reaches_vllm(tmp_path: Path) -> None:
    """The webhook finds where vLLM starts in their command, and what it adds there is what ``sim serve`` takes."""
    kind = Kind("chat", "chat", 1, method="none")
    spec = SpeculationPolicySpec.model_validate({"selector": {"matchLabels": {"app": "chat"}}, "speculation": NGRAM})
    template = deployment(kind, "image")["spec"]["template"]
    plain = inject(template, "demo", spec, RUNTIME, "n" * 32, startup=Startup(StartupVariant.PLAIN, plain=True))
    (container,) = patched(template, inject(template, "demo", spec, RUNTIME, "n" * 32))["spec"]["containers"]
    assert "--speculative-config" in container["args"]
    assert "--speculative-config" not in str(patched(template, plain))
    words = container["command"][len(COMMAND) + 1 :] + container["args"]
    file = tmp_path / "engine.yaml"
    file.write_text(config_map((kind,))["data"]["chat.yaml"])
    given = [str(file) if word.startswith(FOLDER) else word for word in words]
    with patch("turbospec.cli.sim._serve") as served:
        CliRunner().invoke(sim, given, catch_exceptions=False)
    started, options, *_ = served.call_args.args
    assert (started.max_draft_tokens, options.method) == (3, "ngram")


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
