"""Completion for shells, and for kubectl's plugin."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.generate_cli_reference import DOCUMENT, document
from turbospec.cli.completion import kubectl_lines
from turbospec.cli.main import main

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_script(shell: str) -> None:
    """Which asks this very program."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert f"_TURBOSPEC_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dia"], ["diagnose\t"]),
        (["status", "--all"], ["--all-namespaces\t"]),
        (["status", "-o", ""], ["table", "json", "yaml"]),
        (["completion", "z"], ["zsh"]),
    ],
    ids=" ".join,
)
def test_kubectl_gets_values_help_and_its_directive(arguments: list[str], expected: list[str]) -> None:
    """One a line, and :4 (no files) last."""
    lines = kubectl_lines(arguments)
    assert lines[-1] == ":4"
    assert len(lines) - 1 == len(expected)
    assert all(line.startswith(value) for line, value in zip(lines, expected, strict=False))


def test_every_command_is_offered() -> None:
    """`kubectl turbospec <TAB>`."""
    assert {line.split("\t")[0] for line in kubectl_lines([""])[:-1]} == set(main.commands)


def test_kubectl_finds_the_plugin_and_its_completion() -> None:
    """By the names of the executables."""
    scripts = tomllib.loads(PROJECT.read_text())["project"]["scripts"]
    assert scripts["kubectl-turbospec"] == scripts["turbospec"]
    assert scripts["kubectl_complete-turbospec"] == "turbospec.cli.completion:kubectl"


def test_the_reference_is_what_the_commands_say() -> None:
    """A change of a command's help without the tool is caught here."""
    assert DOCUMENT.read_text() == document(), "run: python tools/generate_cli_reference.py"
