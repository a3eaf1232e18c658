"""The demo's picture: K, batch, acceptance and goodput on one tour through all phases."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("Agg")

Point = dict[str, Any]
SHADES = ("#eef3fa", "#fdf3e7", "#eaf6ec", "#f6ecf5")
INK = "#1f4e8c"
OFF_INK, FIXED_INK = "#7a7a7a", "#c2571a"


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw TurboSpec's tour through all phases, the other arms' medians as lines. Without a tour there is no file."""
    points = report["timeline"]
    if not points:
        return
    figure = Figure(figsize=(11, 9), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True)
    _line(axes[0], points, "draft_tokens", "draft tokens K")
    _line(axes[1], points, "batch", "batch\n(requests per engine)")
    _line(axes[2], points, "acceptance_rate", "acceptance rate")
    _line(axes[3], points, "tokens_per_second", "goodput\n(tokens/s, both engines)")
    axes[2].set_ylim(0, 1)
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.margins(x=0)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    _shade(axes, points)
    _other_arms(axes[3], points, report["phases"])
    axes[3].set_xlabel("seconds")
    rounds = len(next(iter(report["phases"]))["rounds"]["turbospec"])
    figure.suptitle(
        f"TurboSpec on {report['engines']} vLLM servers, {report['model']}, {report['machine']}\n"
        f"K left to TurboSpec through all phases; lines of the other arms are medians of {rounds} rounds",
        fontsize=11,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def stretches(points: Sequence[Point]) -> list[tuple[str, float, float]]:
    """(phase, first second, last second) in order; each stretch ends where the next begins."""
    found = [(name, list(group)) for name, group in groupby(points, key=lambda point: point["phase"])]
    ends = [group[0]["seconds"] for _, group in found[1:]] + [points[-1]["seconds"]]
    return [(name, group[0]["seconds"], end) for (name, group), end in zip(found, ends, strict=True)]


def _line(axis: Axes, points: Sequence[Point], key: str, label: str) -> None:
    """Unknown moments break the line: they are no zeros."""
    values = [float("nan") if point[key] is None else point[key] for point in points]
    axis.plot([point["seconds"] for point in points], values, color=INK, linewidth=1.6, label="turbospec")
    axis.set_ylabel(label)


def _shade(axes: Sequence[Axes], points: Sequence[Point]) -> None:
    for index, (name, begin, end) in enumerate(stretches(points)):
        for axis in axes:
            axis.axvspan(begin, end, color=SHADES[index % len(SHADES)], zorder=0, linewidth=0)
        axes[0].annotate(
            name, ((begin + end) / 2, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=10
        )


def _other_arms(axis: Axes, points: Sequence[Point], phases: Sequence[dict[str, Any]]) -> None:
    by_name = {phase["name"]: phase for phase in phases}
    arms: tuple[tuple[str, str, str], ...] = (
        ("off (K = 0)", "offGoodputTokensPerSecond", OFF_INK),
        ("fixed (K = 5)", "fixedGoodputTokensPerSecond", FIXED_INK),
    )
    for label, key, colour in arms:
        for index, (name, begin, end) in enumerate(stretches(points)):
            value = by_name[name][key]
            if value is not None:
                axis.hlines(
                    value, begin, end, color=colour, linestyle="--", linewidth=1.6, label=label if index == 0 else ""
                )
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper right", fontsize=9, framealpha=0.9)
