"""What a container's own command line says of vLLM: model, port, speculation. Pure; what is not written out is None."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turbospec_operator.injection_command import (
    find_serving_command,
    names_speculation,
    reads_config_file,
    serving_words,
)

DEFAULT_PORT = 8000
"""vLLM's own."""

_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
"""As the kubelet puts variables into command and args."""

_CONFIG = "--speculative-config"
_FIELDS = {
    f"{_CONFIG}.method": "method",
    f"{_CONFIG}.model": "model",
    f"{_CONFIG}.num-speculative-tokens": "num_speculative_tokens",
    "--spec-method": "method",
    "--spec-model": "model",
    "--spec-tokens": "num_speculative_tokens",
}


@dataclass(frozen=True, slots=True)
class Speculation:
    """What ``--speculative-config`` and its short forms say."""

    method: str | None = None
    model: str | None = None
    draft_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class VllmArguments:
    """One serving container. ``speculation`` is None where nothing names it; its fields where they cannot be read.

    ``config_file``: vLLM also reads arguments from a file (``--config``), which nobody sees from outside.
    """

    container: str
    model: str | None
    port: int
    speculation: Speculation | None
    config_file: bool


def serving(pod_spec: Mapping[str, Any]) -> list[VllmArguments]:
    """The containers of a pod (template) that serve vLLM."""
    found = (_read(container) for container in pod_spec.get("containers") or ())
    return [each for each in found if each is not None]


def _read(container: Mapping[str, Any]) -> VllmArguments | None:
    command = find_serving_command(container)
    if command is None:
        return None
    words = [_expanded(word, container) for word in serving_words(container, command)]
    flags = _flags(words)
    positional = words[0] if words and not words[0].startswith("-") else None
    return VllmArguments(
        container=str(container.get("name")),
        model=_known(positional or flags.get("--model")),
        port=_number(flags.get("--port")) or DEFAULT_PORT,
        speculation=_speculation(flags) if names_speculation(container) else None,
        config_file=reads_config_file(container),
    )


def _expanded(word: str, container: Mapping[str, Any]) -> str:
    """A word with the variables that the kubelet would put in, where they are written out."""
    values = {each.get("name"): each.get("value") for each in container.get("env") or ()}
    return _VARIABLE.sub(lambda found: str(values.get(found[1]) or found[0]), word)


def _flags(words: Sequence[str]) -> dict[str, str]:
    """Flags with their values, empty for those without; the last one counts, as for vLLM."""
    flags: dict[str, str] = {}
    for index, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, given, value = word.partition("=")
        if not given and index + 1 < len(words) and not words[index + 1].startswith("--"):
            value = words[index + 1]
        name = name.replace("_", "-") if name.startswith("--") else name
        flags[_CONFIG if name == "-sc" else name] = value
    return flags


def _speculation(flags: Mapping[str, str]) -> Speculation:
    said = _parsed(flags.get(_CONFIG, "")) | {name: flags[flag] for flag, name in _FIELDS.items() if flag in flags}
    return Speculation(
        method=_known(said.get("method")),
        model=_known(said.get("model")),
        draft_tokens=_number(said.get("num_speculative_tokens")),
    )


def _parsed(text: str) -> dict[str, Any]:
    """The JSON of ``--speculative-config``, also as double quotes in a shell leave it; empty where it is none."""
    for candidate in (text, text.replace('\\"', '"')):
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _known(value: object) -> str | None:
    """A value that is written out: neither empty nor a shell's variable."""
    text = str(value or "")
    return text if text and "$" not in text else None


def _number(value: object) -> int | None:
    text = str(value or "")
    return int(text) if text.isascii() and text.isdigit() else None
