"""What commands print: columns for people, JSON and YAML for programs."""

import json
from collections.abc import Sequence

import click

GAP = "   "
UNKNOWN = "-"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their widest cell; what is None is not known."""
    cells = [list(header), *([UNKNOWN if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def show(output: str, document: object, text: str) -> None:
    """Print ``document`` for programs, or ``text`` for people."""
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(text)
