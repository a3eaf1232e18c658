"""The flag reaches vLLM and nothing else changes: mutated commands run in a real shell with a recording `vllm`."""

import json
from typing import Any

import pytest

from turbospec_operator.injection_command import find_serving_command, with_flag
from turbospec_operator.injection_shell import simple_commands

VALUE = """{"method":"ngram","text":"it's $HOME \\"quoted\\""}"""
FLAG = ["--speculative-config", VALUE]

SCRIPTS = {
    "plain": "vllm serve m --port 8000",
    "exec": "exec vllm serve m --port 8000",
    "path": '"$BIN/vllm" serve m --port 8000',
    "served name needs the model first": "vllm serve m --served-model-name x",
    "model as an option": "vllm serve --model m --port 8000",
    "variables": 'vllm serve "$MODEL" $EXTRA --port 8000',
    "braces": 'vllm serve "${MODEL:-other model}" --port 8000',
    "substitution": "vllm serve $(echo a b | cut -d' ' -f2) --port 8000",
    "quoted substitution": """vllm serve "$(echo "a b")" --port 8000""",
    "backticks": "vllm serve `echo m` --port 8000",
    "several lines": "set -e\nvllm serve m \\\n  --port 8000 \\\n  --max-num-seqs 16\n",
    "continued before the model": "vllm serve \\\n  m --port 8000",
    "comment first": "# vllm serve nothing\nvllm serve m # the model; really\n",
    "prepared": "export A=1; cd / && true; vllm serve m --port 8000",
    "piped": "vllm serve m --port 8000 2>&1 | cat",
    "redirected": "vllm serve m >log 2>err --port 8000",
    "background": "vllm serve m --port 8000 & wait",
    "branches": 'if [ -n "$NOTHING" ]; then vllm serve a; else vllm serve b --port 1; fi',
    "subshell": "(vllm serve m --port 8000)",
    "group": "{ vllm serve m --port 8000; }",
    "assignment": "A=1 B='x y' vllm serve m --port 8000",
    "no arguments at all": "vllm serve",
    "model in single quotes": "vllm serve 'my model' --port 8000",
    "escaped blank": "vllm serve my\\ model --port 8000",
    "glued quotes": "vllm serve my\" mo\"del' x' --port 8000",
    "json of the user": """vllm serve m --override-generation-config '{"a": {"b": 1}}' --port 8000""",
    "module": "python3 -m vllm.entrypoints.openai.api_server --model m --port 8000",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize(
    "interpreter", [["sh", "-c"], ["bash", "-euo", "pipefail", "-c"], ["bash", "-ec"]], ids=" ".join
)
def test_script_passes_the_flag_once_and_every_other_argument_as_before(
    shell: Any, interpreter: list[str], script: str
) -> None:
    """For every call: arguments with the flag and its value taken out are the arguments of the unchanged script."""
    if "NOTHING" in script:
        script = script.replace("$NOTHING", "${NOTHING:-}")  # bash -u
    container = {"command": interpreter, "args": [script]}
    serving = find_serving_command(container)
    assert serving is not None
    field, content = with_flag(container, serving, *FLAG)
    assert field == "args"
    before, after = shell([*interpreter, script]), shell([*interpreter, *content])
    assert len(after) == len(before) > 0
    for old, new in zip(before, after, strict=True):
        position = new.index("--speculative-config")
        assert new[position : position + 2] == FLAG
        assert new[:position] + new[position + 2 :] == old
        if old[:1] == ["serve"] and len(old) > 1 and not old[1].startswith("-"):
            # vLLM refuses --served-model-name with a flag between serve and the model.
            assert new[1] == old[1]


ARGUMENTS = {
    "command only": {"command": ["vllm", "serve", "m"]},
    "command and args": {"command": ["vllm"], "args": ["serve", "m", "--port", "8000"]},
    "module": {"command": ["python3", "-m", "vllm.entrypoints.openai.api_server"], "args": ["--model", "m"]},
    "wrapper": {"command": ["numactl", "-N", "0", "vllm", "serve", "m"]},
    "shell that runs its arguments": {"command": ["sh", "-c", 'exec "$@"', "--"], "args": ["vllm", "serve", "m"]},
    "list in args": {"command": ["vllm", "serve", "m"], "args": ["--allowed-local-media-path", "/x"]},
}


@pytest.mark.parametrize("container", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_get_the_flag_appended(shell: Any, container: dict[str, list[str]]) -> None:
    """Word for word: what ran before, and the flag at the end."""
    serving = find_serving_command(container)
    assert serving is not None
    field, content = with_flag(container, serving, *FLAG)
    mutated = {**container, field: content}
    before = shell([*container["command"], *container.get("args", [])])
    assert shell([*mutated["command"], *mutated["args"]]) == [[*before[0], *FLAG]]


def test_words_of_a_script_end_where_the_shell_ends_them() -> None:
    """Offsets point behind words; separators, comments and file descriptors are no words."""
    script = """a 'b c'd "e \\" $(f ")")" 2>&1 # g\nh;i\\ j&k"""
    commands = simple_commands(script)
    texts = [[word.text for word in command] for command in commands]
    assert texts == [["a", "b cd", 'e \\" $(f ")")', "1"], ["h"], ["i j"], ["k"]]
    assert [script[: command[-1].end] for command in commands][1:] == [script[:-7], script[:-2], script]


def test_value_survives_as_json(shell: Any) -> None:
    """Quotes, blanks and dollars in the value are the shell's business no more."""
    container = {"command": ["sh", "-c"], "args": ["vllm serve m"]}
    serving = find_serving_command(container)
    assert serving is not None
    _, content = with_flag(container, serving, *FLAG)
    assert json.loads(shell(["sh", "-c", *content])[0][3]) == json.loads(VALUE)
