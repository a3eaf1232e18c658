"""Replicas, load, K, the autoscaler's work and misses over the day, one colour for each arm."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from turbospec.simulation.fleet.results import FleetRun
from turbospec.simulation.text import Floats

BIN_SECONDS = 60.0


def plot(runs: Sequence[FleetRun], path: Path) -> None:
    """Writes a PNG. OSError where the file cannot be written."""
    figure = Figure(figsize=(11, 13), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(6, 1, sharex=True)
    for run in runs:
        edges = np.arange(0.0, run.seconds + BIN_SECONDS, BIN_SECONDS)
        arrived = np.histogram(run.arrivals, edges)[0]
        missed = np.histogram(run.arrivals, edges, weights=run.misses)[0]
        share = np.where(arrived > 0, missed / np.maximum(arrived, 1), np.nan)
        minutes, label = edges[:-1] / 60.0, f"{run.arm} ({run.replica_hours:.1f} replica-hours)"
        times = np.array([moment.at for moment in run.moments]) / 60.0
        shown = times >= 0.0
        curves: tuple[Sequence[float | None], ...] = (
            [moment.replicas for moment in run.moments],
            [moment.requests_per_pod for moment in run.moments],
            [moment.draft_tokens for moment in run.moments],
            [moment.load_ratio for moment in run.moments],
        )
        for axis, values in zip((axes[0], axes[2], axes[3], axes[4]), curves, strict=True):
            axis.plot(times[shown], _floats(values)[shown], label=label, linewidth=1.0)
        axes[5].plot(minutes, 100.0 * share, linewidth=1.0)
    if runs:
        edges = np.arange(0.0, runs[0].seconds + BIN_SECONDS, BIN_SECONDS)
        arrived = np.histogram(runs[0].arrivals, edges)[0]
        axes[1].plot(edges[:-1] / 60.0, arrived / BIN_SECONDS, color="black", linewidth=1.0)
    titles = (
        "replicas",
        "requests per second",
        "requests per ready pod",
        "K (mean over pods)",
        "offered load ratio",
        "misses, percent",
    )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_ylabel(title)
        axis.grid(visible=True, alpha=0.3)
        axis.set_ylim(bottom=0)
    if runs:
        axes[0].legend(loc="upper right", ncols=2, fontsize="small")
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else float(value) for value in values])
