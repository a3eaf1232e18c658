"""Misses against replica-hours, one curve for each arm and metric, from the targets that tuning tried."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LEAST = 0.01
"""Percent of misses that the logarithmic axis begins with."""


def draw(rows: Sequence[dict[str, Any]], scenarios: Sequence[str], path: Path) -> None:
    """Writes a PNG with one plot for each scenario."""
    figure = Figure(figsize=(11, 3.6 * len(scenarios)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(scenarios), 1, squeeze=False)[:, 0]
    for axis, scenario in zip(axes, scenarios, strict=True):
        for (arm, metric), points in sorted(_curves(rows, scenario).items()):
            label = arm if arm == "oracle" else f"{arm}, {metric}"
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.0, label=label)
        axis.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
        axis.set_yscale("log")
        axis.set_title(scenario)
        axis.set_ylabel("misses, percent")
        axis.grid(visible=True, alpha=0.3)
        axis.legend(fontsize="x-small", ncols=2)
    axes[-1].set_xlabel("replica-hours")
    figure.savefig(path, dpi=100)


def _curves(rows: Sequence[dict[str, Any]], scenario: str) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """A point for each target: the means of the days that tuning ran to their end. Every K has a curve of its own."""
    days: dict[tuple[str, str, float], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["scenario"] == scenario and row["tuning"] and not row.get("stopped"):
            point = (row["replicaSeconds"] / 3600.0, max(LEAST, 100.0 * row["misses"]["share"]))
            days[row["arm"], row["metric"], row["target"]].append(point)
    curves: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for (arm, metric, _), points in days.items():
        hours, misses = zip(*points, strict=True)
        curves[arm, metric].append((fmean(hours), fmean(misses)))
    return {key: sorted(points) for key, points in curves.items()}
