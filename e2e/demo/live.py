"""What a person sees while the demo measures: a table that refreshes, or a line every two seconds."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from e2e.demo.report import WindowResult
from e2e.demo.rounds import Moment

LINE_SECONDS = 2.0
LINE_WIDTHS = (5, 9, 8, 7, 6, 4, 6, 6)


class LiveView:
    """``with LiveView(console) as view: ... view.show(moment)``."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console = console
        self._rounds = rounds
        self._results: list[WindowResult] = []
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        else:
            print(line_of(("round", "arm", "phase", "clients", "batch", "K", "accept", "tok/s")) + "  left")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """The state of this second."""
        if self._live:
            self._live.update(moment_table(moment, self._rounds))
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            line = line_of(moment_cells(moment))
            print(
                f"{line}  {remaining(moment.remaining_seconds)}{' (settling)' if moment.settling else ''}", flush=True
            )


def moment_cells(moment: Moment) -> tuple[str, ...]:
    """Round, arm, phase, clients per engine, batch, K, acceptance rate, tokens per second."""
    window, steps = moment.window, moment.steps
    return (
        "tour" if window.round is None else str(window.round + 1),
        window.arm.name,
        window.phase.name,
        str(window.phase.clients),
        number(steps.mean_batch, 1),
        number(steps.mean_draft_tokens, 1),
        number(steps.acceptance_rate, 2),
        number(moment.tokens_per_second, 0),
    )


def line_of(cells: tuple[str, ...]) -> str:
    """The same columns as a line of text."""
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, LINE_WIDTHS, strict=True))


def moment_table(moment: Moment, rounds: int) -> Table:
    """The live table."""
    number = moment.window.round
    what = "tour of all phases" if number is None else f"round {number + 1} of {rounds}"
    table = Table(title=f"{what}, {remaining(moment.remaining_seconds)} left")
    for heading in ("round", "arm", "phase", "clients", "batch", "K", "acceptance", "tok/s"):
        table.add_column(heading, justify="right")
    table.add_row(*moment_cells(moment))
    return table


def summary_table(report: dict[str, object], phases: list[dict[str, object]]) -> Table:
    """The end: goodput of every arm by phase."""
    table = Table(title=f"goodput in tokens per second over {report['engines']} engines, medians of the rounds")
    for heading in (
        "phase",
        "clients/engine",
        "mean K",
        "acceptance",
        "turbospec",
        "off (K=0)",
        "fixed (K=5)",
        "of the better",
    ):
        table.add_column(heading, justify="right")
    for phase in phases:
        table.add_row(
            str(phase["name"]),
            str(phase["clients"]),
            number(phase["meanDraftTokens"], 1),
            number(phase["acceptanceRate"], 2),
            number(phase["goodputTokensPerSecond"], 1),
            number(phase["offGoodputTokensPerSecond"], 1),
            number(phase["fixedGoodputTokensPerSecond"], 1),
            number(phase["ratioToBetter"], 2),
        )
    return table


def number(value: object, digits: int) -> str:
    """A dash for the unknown."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def remaining(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
