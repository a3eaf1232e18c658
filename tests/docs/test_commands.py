"""Commands that the documentation tells people to type exist, with the options and values that they are given."""

import re
from pathlib import Path

import click
import pytest

from tools.generate_values_table import values
from turbospec.cli.main import main as turbospec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "cli.md")]
CODE = re.compile(r"^(?:    |\t)\s*(\S.*)$|`([^`\n]+)`", re.MULTILINE)
"""Indented blocks, line by line, and what stands between backquotes."""


def code(page: Path) -> list[str]:
    """What of a page is to be typed, or could be."""
    return [first or second for first, second in CODE.findall(page.read_text())]


def test_values_that_are_set_are_the_charts() -> None:
    """Or Helm would refuse them."""
    known = {each.path for each in values()}
    found = {
        key
        for page in PAGES
        for key in re.findall(r"--set(?:-string)?[ =]'?([\w.]+)(?:\[\d+\][\w.]*)?=", page.read_text())
    }
    assert "jobs.namespaces" in found
    assert {key for key in found - known if not any(key.startswith(f"{each}.") for each in known)} == set()


def test_commands_of_turbospec_are_there_with_their_options() -> None:
    """By the command line's own definitions."""
    pattern = re.compile(r"(?:^|\$ |\| |&& )(?:kubectl )?turbospec ([a-z].*)")
    typed = [(page.name, words) for page in PAGES for line in code(page) for words in pattern.findall(line)]
    assert len(typed) > 30
    assert [(page, words, fault) for page, words in typed if (fault := wrong_with(words))] == []


def wrong_with(words: str) -> str:
    """What of a command line the command does not know; empty where nothing is."""
    command: click.Command = turbospec
    rest = words.partition("#")[0].split()
    while rest and isinstance(command, click.Group) and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    if isinstance(command, click.Group) and rest and rest[0] != "...":
        return f"no command {rest[0]}"
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"-h", "--help"}
    used = {word.partition("=")[0].strip("[]") for word in rest if re.match(r"\[?--?[a-z]", word)}
    return f"no options {sorted(used - known)}" if used - known else ""


@pytest.mark.parametrize("words", ["paws chat -n team", "pause chat --hard", "profile lisst"])
def test_what_is_not_there_is_found(words: str) -> None:
    """Or the test above would let everything through."""
    assert wrong_with(words)
