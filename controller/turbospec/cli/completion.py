"""Completion: scripts for shells, and the answers that kubectl asks of a plugin."""

import sys
from collections.abc import Sequence

import click
from click.shell_completion import ShellComplete, get_completion_class

from turbospec.cli.errors import CommandError

VARIABLE = "_TURBOSPEC_COMPLETE"
NO_FILES = ":4"
"""Cobra's directive ShellCompDirectiveNoFileComp, the last line of what kubectl reads."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: eval "$(turbospec completion bash)"."""
    found = get_completion_class(shell)
    if found is None:
        raise CommandError(f"no completion for {shell}; choose bash, zsh or fish")
    from turbospec.cli.main import main

    click.echo(found(main, {}, "turbospec", VARIABLE).source())


def kubectl_lines(arguments: Sequence[str]) -> list[str]:
    """What ``kubectl_complete-turbospec ARGUMENT... WORD`` prints: ``value<TAB>help`` and the directive."""
    from turbospec.cli.main import main

    words, incomplete = list(arguments[:-1]), arguments[-1] if arguments else ""
    found = ShellComplete(main, {}, "turbospec", VARIABLE).get_completions(words, incomplete)
    lines = [f"{each.value}\t{each.help}" if each.help else str(each.value) for each in found if each.type == "plain"]
    return [*lines, NO_FILES]


def kubectl() -> int:
    """The executable ``kubectl_complete-turbospec``, which kubectl finds beside the plugin."""
    sys.stdout.write("\n".join(kubectl_lines(sys.argv[1:])) + "\n")
    return 0
