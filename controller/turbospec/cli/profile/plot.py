"""A profile as a picture: what each K gains at each batch, and what a step takes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from turbospec.cli.profile import compare
from turbospec.cli.profile.files import Profile

MOST_NUMBERED = 16
"""Batches up to which the map says its numbers; beyond, they would not be read."""

DARK = 0.75
"""Share of the scale beyond which its colours are too dark for black numbers."""


def plot(profile: Profile, path: Path, *, acceptance: float, context_tokens: int | None) -> None:
    """Writes a PNG. Goodput is drawn against that of K = 0, at the measured batches and K, for text of which every
    draft token is accepted with this chance; ``context_tokens``: the median of the measured contexts where None.

    OSError where the file cannot be written.
    """
    cells = [cell for cell in profile.model.cells if cell.prefill_tokens == 0]
    context = context_tokens if context_tokens is not None else _middle([cell.context_tokens for cell in cells])
    batches, ks = sorted({cell.batch for cell in cells}), sorted({cell.draft_tokens for cell in cells})
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _gains(left, profile, (batches, ks), context, acceptance)
    _step_times(right, profile, batches, ks, context)
    identity = profile.spec.identity
    figure.suptitle(
        f"{identity.hardware}, {identity.method}, {identity.target}, vLLM {identity.engine_version}", fontsize="medium"
    )
    figure.savefig(path, dpi=110)


def _gains(axis: Axes, profile: Profile, axes: tuple[list[int], list[int]], context: int, acceptance: float) -> None:
    """Goodput at K over goodput at K = 0; the best K of each batch is framed."""
    batches, ks = axes
    gains = np.log2(np.array(compare.gains(profile.model, ks, batches, context, acceptance)).T)
    reach = max(float(np.abs(gains).max()), 0.1)
    image = axis.imshow(gains, cmap="RdYlGn", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    for column in range(len(batches)):
        axis.add_patch(_frame(column, int(gains[:, column].argmax())))
        for row in range(len(ks)) if len(batches) <= MOST_NUMBERED else ():
            gain = float(gains[row, column])
            ink = "white" if abs(gain) > DARK * reach else "black"
            axis.text(column, row, f"{2.0**gain:.2f}", ha="center", va="center", fontsize="small", color=ink)
    axis.set_xticks(range(len(batches)), [str(batch) for batch in batches])
    axis.set_yticks(range(len(ks)), [str(k) for k in ks])
    axis.set_xlabel("batch (requests decoding)")
    axis.set_ylabel("K (draft tokens)")
    title = f"goodput against K = 0, acceptance {acceptance:g}, context {context} (framed: best K)"
    axis.set_title(title, fontsize="small")
    bar = axis.get_figure(root=True).colorbar(image, ax=axis)  # type: ignore[union-attr]  # it is on a figure
    ticks = np.linspace(-reach, reach, 5)
    bar.set_ticks(ticks.tolist(), labels=[f"{2.0**tick:.2f}" for tick in ticks])


def _step_times(axis: Axes, profile: Profile, batches: list[int], ks: list[int], context: int) -> None:
    """Predicted lines over batch, one for each K, and the measured medians nearest to this context as dots."""
    line = np.unique(np.geomspace(batches[0], batches[-1], 60).round())
    for number, k in enumerate(ks):
        predicted = [
            1e3 * profile.model.step_seconds(decodes=int(batch), draft_tokens=k, kv_tokens=batch * context)
            for batch in line
        ]
        axis.plot(line, predicted, color=f"C{number}", label=f"K = {k}", linewidth=1.2)
        measured = [cell for cell in profile.model.cells if cell.draft_tokens == k and cell.prefill_tokens == 0]
        nearest = {
            batch: min(
                (cell for cell in measured if cell.batch == batch), key=lambda cell: abs(cell.context_tokens - context)
            )
            for batch in {cell.batch for cell in measured}
        }
        times = [1e3 * cell.seconds for cell in nearest.values()]
        axis.plot(list(nearest), times, "o", color=f"C{number}", markersize=3.5)
    _plain_times(axis, profile, context)
    axis.set_xscale("log", base=2)
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("batch (requests decoding)")
    axis.set_ylabel("milliseconds")
    axis.set_title(f"step time, context {context} (dots: measured nearest to it)", fontsize="small")
    axis.grid(visible=True, alpha=0.3)
    axis.legend(fontsize="small")


def _plain_times(axis: Axes, profile: Profile, context: int) -> None:
    """Crosses for the engine without speculation, where it was measured: below K = 0 by what the drafter costs."""
    cells = profile.spec.plain.cells if profile.spec.plain is not None else []
    nearest = {
        batch: min((cell for cell in cells if cell.batch == batch), key=lambda cell: abs(cell.context_tokens - context))
        for batch in sorted({cell.batch for cell in cells})
    }
    if nearest:
        times = [1e-3 * cell.microseconds for cell in nearest.values()]
        axis.plot(list(nearest), times, "x", color="black", markersize=5, label="without drafter")


def _frame(column: int, row: int) -> Rectangle:
    return Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.6)


def _middle(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]
