"""The ramp's picture: what comes, how loaded that makes the pods, how many there are, and K."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from e2e.autoscaling.recording import Recording

mpl.use("Agg")

INK, PALE = "#1f4e8c", "#8fb1dc"
TARGET_INK = "#c2571a"
TARGET = 0.8


def draw(recording: Recording, title: str, file: Path) -> None:
    """Five panels over one time axis."""
    seconds = [each.second for each in recording.moments]
    figure = Figure(figsize=(11, 10), layout="constrained")
    axes = figure.subplots(5, 1, sharex=True)
    axes[0].plot(seconds, [each.requests_per_second for each in recording.moments], color=INK, linewidth=1.6)
    axes[0].set_ylabel("requests sent\nper second")
    _line(axes[1], seconds, [each.ratio for each in recording.moments], PALE, "offered now")
    expected = [each.expected_ratio for each in recording.moments]
    _line(axes[1], seconds, expected, INK, "expected when a new pod would be Ready")
    axes[1].axhline(TARGET, color=TARGET_INK, linestyle="--", linewidth=1.2, label="target 0.8")
    axes[1].set_ylabel("load ratio")
    _steps(axes[2], seconds, [each.replicas for each in recording.moments], INK, "asked for")
    _steps(axes[2], seconds, [each.ready for each in recording.moments], PALE, "Ready")
    axes[2].set_ylabel("replicas")
    _line(axes[3], seconds, [each.batch for each in recording.moments], INK, "")
    axes[3].set_ylabel("batch\n(requests per pod)")
    _line(axes[4], seconds, [each.draft_tokens for each in recording.moments], INK, "")
    axes[4].set_ylabel("draft tokens K\n(mean of the pods' steps)")
    axes[4].set_xlabel("seconds")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.margins(x=0)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(loc="lower center", ncols=3, fontsize=9, framealpha=0.9)
    axes[2].legend(loc="upper left", fontsize=9, framealpha=0.9)
    figure.suptitle(title, fontsize=11)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _line(axis: Axes, seconds: list[float], values: list[float | None], colour: str, label: str) -> None:
    """Unknown moments break the line: they are no zeros."""
    shown = [float("nan") if value is None else value for value in values]
    axis.plot(seconds, shown, color=colour, linewidth=1.6, label=label)


def _steps(axis: Axes, seconds: list[float], values: list[int], colour: str, label: str) -> None:
    axis.step(seconds, values, where="post", color=colour, linewidth=1.6, label=label)
