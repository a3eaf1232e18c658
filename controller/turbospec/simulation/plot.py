"""K, batch, acceptance and goodput over time, one colour for each arm."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from turbospec.simulation.results import Run, Series
from turbospec.simulation.text import Floats

MOST_BINS = 300
STEPS_PER_BIN = 10
"""Fewer steps in a bin would draw noise instead of curves."""


def plot(runs: Sequence[Run], path: Path) -> None:
    """Writes a PNG. OSError where the file cannot be written."""
    seconds = max((run.seconds for run in runs), default=0.0)
    fewest = min((len(run.series.ended) for run in runs if run.series is not None), default=0)
    edges = np.linspace(0.0, max(seconds, 1e-9), max(1, min(MOST_BINS, fewest // STEPS_PER_BIN)) + 1)
    figure = Figure(figsize=(11, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True)
    for run in runs:
        if run.series is None or not run.series.ended:
            continue
        for axis, values in zip(axes, _curves(run.series, edges), strict=True):
            axis.plot(edges[:-1], values, label=run.controller, linewidth=1.0)
    titles = ("K (mean over steps)", "decoding requests", "accepted / drafted", "tokens per second")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_ylabel(title)
        axis.grid(visible=True, alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[0].legend(loc="upper right", ncols=4, fontsize="small")
    axes[-1].set_xlabel("simulated seconds")
    figure.savefig(path, dpi=110)


def _curves(series: Series, edges: Floats) -> list[Floats]:
    ended = np.array(series.ended)

    def total(values: Sequence[int]) -> Floats:
        return np.asarray(np.histogram(ended, edges, weights=np.array(values, dtype=np.float64))[0], dtype=np.float64)

    steps = np.histogram(ended, edges)[0].astype(np.float64)
    steps[steps == 0] = np.nan
    drafted = total(series.drafted)
    drafted[drafted == 0] = np.nan
    return [
        total(series.draft_tokens) / steps,
        total(series.decodes) / steps,
        total(series.accepted) / drafted,
        total(series.generated) / np.diff(edges),
    ]
