"""Write docs/reference/cli.md out of the commands' own help: ``python tools/generate_cli_reference.py``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from turbospec.cli.main import main as turbospec

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"
WIDTH = 110
HEADER = """\
# The command `turbospec`

Written by tools/generate_cli_reference.py out of the commands' own help; change that, then run it again.

`kubectl turbospec` is the same command: kubectl finds `kubectl-turbospec` on the PATH, and `kubectl_complete-turbospec`
beside it completes it. For the shell's own completion: `eval "$(turbospec completion bash)"`.

It asks the cluster that kubectl would ask (`--kubeconfig`, `--context`, `--namespace`), with your own permissions.
`status`, `top`, `dashboard`, `explain` and `schedule` read what the operator publishes, the statuses of policies;
`diagnose`, `must-gather` and `init` look at more, and say what they may not see. Only `pause`, `resume`,
`init --apply`, `profile import` and `profile promote` change anything. How they go together:
[command-line.md](../command-line.md).

| exit status | meaning |
| --- | --- |
| 0 | done |
| 1 | an error: one line on standard error that says what was wrong, where, and what to do |
| 2 | a wrong command line |
| 3 | `diagnose` found something wrong |

Where `must-gather` could not read everything its exit status is 0: it says what, and so does the archive.
"""


def pages(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """A section for a command, and for those below it."""
    context = click.Context(command, parent, name, terminal_width=WIDTH, **command.context_settings)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            yield from pages(command.commands[below], below, context)


def document() -> str:
    """The whole page."""
    return "\n".join([HEADER, *pages(turbospec, "turbospec")])


def main() -> int:
    """Write the page."""
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
