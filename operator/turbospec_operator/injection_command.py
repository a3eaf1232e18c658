"""Container command lines: does one serve vLLM, what does it say of speculation, and where does a flag go in.

Pure functions over the raw ``command`` and ``args`` of a container. Shell scripts are read only as far as needed to
find ``vllm serve`` in them; everything else in a script stays as it is, byte for byte.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from turbospec_operator.injection_shell import simple_commands

SHELLS = frozenset({"sh", "bash", "dash", "ash", "busybox", "zsh", "ksh"})

_SERVER_MODULE = re.compile(r"vllm\.entrypoints\.(openai\.)?api_server")
_CLI_NAMES = frozenset({"vllm", "vllm.entrypoints.cli.main"})
_SCRIPT_OPTION = re.compile(r"-[A-Za-z]*c[A-Za-z]*")
"""``-c``, ``-lc``, ``-ceu``...: the next argument is a script."""
_VALUED_OPTION = re.compile(r"[-+][A-Za-z]*[oO]")
"""``-o pipefail``, ``-euo pipefail``."""

_SPECULATION_FLAG = re.compile(r"(?<![\w-])(--spec(ulative)?[-_.][a-z]|--num[-_]speculative[-_]|-sc(?![\w-]))")
"""--speculative-config (also dotted or with underscores), its short form -sc, --spec-method..., and forms of old."""

_TRANSFER = re.compile(r"(?<![\w-])--kv[-_]transfer[-_]config(?![\w-])")
_CONFIG_FILE = re.compile(r"(?<![\w-])--config(?![\w-])")
_MAX_NUM_SEQS = re.compile(r"(?<![\w-])--max[-_]num[-_]seqs(?:\s*=\s*|[\s\"']+)(\d+)(?!\w)")
_MAX_NUM_BATCHED_TOKENS = re.compile(r"(?<![\w-])--max[-_]num[-_]batched[-_]tokens(?:\s*=\s*|[\s\"']+)(\d+)(?![\w.])")
_DATA_PARALLEL = re.compile(r"(?<![\w-])(?:--data[-_]parallel[-_]size|-dp)(?:\s*=\s*|[\s\"']+)(\d+)(?!\w)")
_IMAGE_NAME = re.compile(r"(^|[-_.])vllm($|[-_.])")
_NOT_ENGINES = ("router", "gateway", "proxy")
_OTHER_SUBCOMMANDS = frozenset({"bench", "chat", "complete", "collect-env", "run-batch", "launch"})


class Form(StrEnum):
    """How a container starts vLLM."""

    ARGV = "argv"
    """Its arguments are words of ``command`` and ``args``."""

    SCRIPT = "script"
    """A shell runs a script that holds the command."""

    IMAGE = "image"
    """The image's entry point serves; ``args`` are its flags, if there are any."""


@dataclass(frozen=True, slots=True)
class ServingCommand:
    """A container that serves vLLM. ``script`` is the argument (index into command + args) that holds the script."""

    form: Form
    script: int | None = None


def find_serving_command(container: Mapping[str, Any]) -> ServingCommand | None:
    """How this container starts a vLLM server, or None where it does not, as far as its command line tells."""
    argv = arguments(container)
    if _words_serve(argv):
        return ServingCommand(Form.ARGV)
    for index in _scripts(argv):
        if _insertion_points(argv[index]):
            return ServingCommand(Form.SCRIPT, index)
    by_image = not container.get("command") and _image_serves(str(container.get("image") or ""))
    if by_image and not (argv and argv[0] in _OTHER_SUBCOMMANDS):
        return ServingCommand(Form.IMAGE)
    return None


def arguments(container: Mapping[str, Any]) -> list[str]:
    """``command`` and ``args`` in one list, as the process will see them."""
    return [*map(str, container.get("command") or ()), *map(str, container.get("args") or ())]


def serving_words(container: Mapping[str, Any], serving: ServingCommand) -> list[str]:
    """What vLLM is given behind ``serve`` or its module's name, as it is written; of several servers, the first one."""
    argv = arguments(container)
    if serving.form is Form.IMAGE:
        return argv
    commands = [argv]
    if serving.script is not None:
        commands = [[word.text for word in words] for words in simple_commands(argv[serving.script])]
    for words in commands:
        for index, (word, following) in enumerate(pairwise(words)):
            if _serves(word, following):
                return words[index + 2 :]
    return []


def names_speculation(container: Mapping[str, Any]) -> bool:
    """Whether the container already says how to speculate; what the user wrote is never overruled.

    In a variable as well: shells and the kubelet put variables into command lines.
    """
    variables = [str(variable.get("value") or "") for variable in container.get("env") or ()]
    return any(_SPECULATION_FLAG.search(text) for text in (*arguments(container), *variables))


def reads_config_file(container: Mapping[str, Any]) -> bool:
    """Whether vLLM gets ``--config FILE``: the file may hold a speculative-config that nobody outside can see."""
    return any(_CONFIG_FILE.search(argument) for argument in arguments(container))


def transfers_kv_cache(container: Mapping[str, Any]) -> bool:
    """Whether prefill and decode happen in different engines: these hash how they speculate, and must agree."""
    variables = [str(variable.get("value") or "") for variable in container.get("env") or ()]
    return any(_TRANSFER.search(text) for text in (*arguments(container), *variables))


def max_num_seqs(container: Mapping[str, Any]) -> int | None:
    """``--max-num-seqs`` where it is written as a number; the last one counts, as for vLLM. None is unknown."""
    return _last_number(_MAX_NUM_SEQS, container)


def max_num_batched_tokens(container: Mapping[str, Any]) -> int | None:
    """``--max-num-batched-tokens`` likewise; vLLM takes ``8k`` as well, which is not read."""
    return _last_number(_MAX_NUM_BATCHED_TOKENS, container)


def _last_number(flag: re.Pattern[str], container: Mapping[str, Any]) -> int | None:
    # One text for all forms: the flag and its value may be two arguments, one, or words of a script.
    found = flag.findall("\n".join(arguments(container)))
    return int(found[-1]) if found and int(found[-1]) > 0 else None


def is_data_parallel(container: Mapping[str, Any]) -> bool:
    """Whether ``--data-parallel-size`` above 1 is written as a number; the last one counts, as for vLLM."""
    found = _DATA_PARALLEL.findall("\n".join(arguments(container)))
    return bool(found) and int(found[-1]) > 1


def with_flag(container: Mapping[str, Any], serving: ServingCommand, flag: str, value: str) -> tuple[str, list[str]]:
    """The field to replace (``command`` or ``args``) and its new content, which passes ``flag value`` to vLLM.

    Raises ValueError, in words for the pod's annotation, where the flag cannot be put in without changing what runs.
    """
    command, args = list(map(str, container.get("command") or ())), list(map(str, container.get("args") or ()))
    if serving.form is Form.SCRIPT and serving.script is not None:
        field, part, index = "command", command, serving.script
        if index >= len(command):
            field, part, index = "args", args, index - len(command)
        part[index] = _insert(part[index], f"{flag} {shlex.quote(value)}")
        return field, part
    if not command and not args:
        # Arguments of ours would replace those that the image brings along (its CMD), which nobody outside can see.
        raise ValueError(
            "the container has neither command nor args to add --speculative-config to: write its args out"
        )
    return "args", [*args, flag, value]


def _words_serve(words: Sequence[str]) -> bool:
    return any(_serves(word, following) for word, following in pairwise(words))


def _serves(word: str, following: str) -> bool:
    """``vllm serve`` (by any path) or ``-m`` with a server module; the CLI as a module needs its ``serve`` too."""
    name = word.rsplit("/", 1)[-1]
    if following == "serve":
        return name in _CLI_NAMES
    return word == "-m" and _SERVER_MODULE.fullmatch(following) is not None


def _scripts(argv: Sequence[str]) -> Iterator[int]:
    """Indices of arguments that a shell runs as scripts."""
    for shell, argument in enumerate(argv[:-1]):
        if argument.rsplit("/", 1)[-1] not in SHELLS:
            continue
        option = shell + 1
        while option < len(argv) - 1 and (argv[option][:1] in ("-", "+") or argv[option] in SHELLS):
            if _SCRIPT_OPTION.fullmatch(argv[option]):
                yield option + 1
                break
            option += 2 if _VALUED_OPTION.fullmatch(argv[option]) else 1


def _image_serves(image: str) -> bool:
    """Whether the image is named after vLLM: ``vllm/vllm-openai:v0.25``, ``registry:5000/team/vllm@sha256:...``."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1].split(":", 1)[0].lower()
    return bool(_IMAGE_NAME.search(name)) and not any(word in name for word in _NOT_ENGINES)


def _insert(script: str, text: str) -> str:
    for offset in reversed(_insertion_points(script)):
        script = f"{script[:offset]} {text}{script[offset:]}"
    return script


def _insertion_points(script: str) -> list[int]:
    """Offsets at which a flag for vLLM may be put in: one for every ``vllm serve`` of the script.

    Behind the model where that comes first, because vLLM refuses some flags between ``serve`` and the model; and before
    all other flags, so that a later one, from a variable say, overrules ours.
    """
    points = []
    for words in simple_commands(script):
        for index, (word, following) in enumerate(pairwise(words)):
            if not _serves(word.text, following.text):
                continue
            end = following.end
            if following.text == "serve" and index + 2 < len(words) and not words[index + 2].text.startswith("-"):
                end = words[index + 2].end
            points.append(end)
    return points
