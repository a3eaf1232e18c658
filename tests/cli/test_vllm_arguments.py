"""What a command line says of vLLM is read as vLLM, shells and kubelets read it; what it does not say is unknown."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from turbospec.cli.fleet.vllm_arguments import Speculation, VllmArguments, serving

WORKLOADS = Path(__file__).parents[1] / "webhook" / "workloads"
EAGLE = Speculation("eagle3", "org/drafter", 5)
EAGLE_JSON = '{"method": "eagle3", "model": "org/drafter", "num_speculative_tokens": 5}'
DOTTED = ["--speculative-config.method", "mtp", "--speculative-config.num_speculative_tokens", "1"]
QUOTED = """exec vllm serve m --port 81 --speculative-config '{"method": "ngram"}' | tee log"""
UNREAD = Speculation()


def read(**container: Any) -> VllmArguments:
    (found,) = serving({"containers": [{"name": "vllm", **container}]})
    return found


CASES: dict[str, tuple[dict[str, Any], tuple[str | None, int, Speculation | None]]] = {
    "plain": ({"command": ["vllm", "serve", "org/model"]}, ("org/model", 8000, None)),
    "flags": ({"args": ["vllm", "serve", "--model", "m", "--port=9000"]}, ("m", 9000, None)),
    "the last flag counts": ({"args": ["vllm", "serve", "m", "--port", "1", "--port", "2"]}, ("m", 2, None)),
    "module": ({"command": ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"]}, ("m", 8000, None)),
    "image": ({"image": "vllm/vllm-openai:v0.32.0", "args": ["--model", "m"]}, ("m", 8000, None)),
    "config": (
        {"args": ["vllm", "serve", "m", "--speculative-config", EAGLE_JSON]},
        ("m", 8000, EAGLE),
    ),
    "underscores and equals": (
        {"args": ["vllm", "serve", "m", '--speculative_config={"method":"ngram","num_speculative_tokens":3}']},
        ("m", 8000, Speculation("ngram", None, 3)),
    ),
    "dotted": (
        {"args": ["vllm", "serve", "m", *DOTTED]},
        ("m", 8000, Speculation("mtp", None, 1)),
    ),
    "short": ({"args": ["vllm", "serve", "m", "-sc", '{"method":"mtp"}']}, ("m", 8000, Speculation("mtp", None, None))),
    "flags of its own": (
        {"args": ["vllm", "serve", "m", "--spec-method", "ngram", "--spec-tokens", "4"]},
        ("m", 8000, Speculation("ngram", None, 4)),
    ),
    "shell": (
        {"command": ["sh", "-c", QUOTED]},
        ("m", 81, Speculation("ngram", None, None)),
    ),
    "double quotes": (
        {"command": ["bash", "-lc", 'vllm serve m -sc "{\\"method\\":\\"ngram\\"}"']},
        ("m", 8000, Speculation("ngram", None, None)),
    ),
    "the kubelet's variables": (
        {"args": ["vllm", "serve", "$(MODEL)", "--port", "$(PORT)"], "env": [{"name": "MODEL", "value": "m"}]},
        ("m", 8000, None),
    ),
    "a shell's variables": ({"command": ["sh", "-c", "vllm serve $MODEL"]}, (None, 8000, None)),
    "speculation in a variable": (
        {"command": ["sh", "-c", "vllm serve m $EXTRA"], "env": [{"name": "EXTRA", "value": "--spec-method ngram"}]},
        ("m", 8000, UNREAD),
    ),
    "no JSON": ({"args": ["vllm", "serve", "m", "--speculative-config", "$(SPEC)"]}, ("m", 8000, UNREAD)),
}  # fmt: skip


@pytest.mark.parametrize(("container", "expected"), CASES.values(), ids=CASES)
def test_arguments_are_read_in_every_form(
    container: dict[str, Any], expected: tuple[str | None, int, Speculation | None]
) -> None:
    """Model, port and speculation."""
    found = read(**container)
    assert (found.model, found.port, found.speculation) == expected


def test_a_config_file_is_said() -> None:
    """It may hold anything."""
    assert read(args=["vllm", "serve", "m", "--config", "/etc/vllm.yaml"]).config_file
    assert not read(args=["vllm", "serve", "m"]).config_file


@pytest.mark.parametrize("file", sorted(WORKLOADS.glob("*.yaml")), ids=lambda file: file.stem)
def test_workloads_of_the_field_are_read(file: Path) -> None:
    """The very pods that injection is tested on; an `eval` hides its command from everybody."""
    (pod,) = yaml.safe_load_all(file.read_text())
    assert len(serving(pod["spec"])) == (0 if file.stem == "kserve-data-parallel" else 1)


def test_what_serves_no_vllm_is_left_out() -> None:
    """A sidecar, and a pod without containers."""
    assert serving({"containers": [{"name": "proxy", "image": "envoy", "args": ["-c", "x"]}]}) == []
    assert serving({}) == []
