"""What ends a command: one line that says what was wrong, where, and what to do."""

import click


class CommandError(click.ClickException):
    """Printed as ``Error: ...``; the exit status is 1 (2 is a wrong command line)."""
