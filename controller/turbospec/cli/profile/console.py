"""Where the commands print."""

from rich.console import Console


def console() -> Console:
    """Standard output as it is: no markup, no colours of our guessing; piped, nothing is cut to 80 columns."""
    made = Console(markup=False, highlight=False)
    return made if made.is_terminal else Console(markup=False, highlight=False, width=240)
