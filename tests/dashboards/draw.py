"""Pictures of the dashboards for the docs: ``python -m tests.dashboards.draw docs/images``.

No Grafana is needed: panels are laid out as their files say and drawn from the answers of a real Prometheus to their
own queries, while a stand-in fleet goes through four minutes of changing load.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from e2e.demo.prometheus import find_program
from tests.dashboards.committed import BOARDS, Raw, series_name, substituted
from tests.dashboards.prometheus import Prometheus, prometheus
from tests.dashboards.stand_in_fleet import Endpoints, stand_in_fleet
from tools.dashboards.grafana import HIDDEN
from turbospec_operator.prometheus_load import PrometheusLoad

POD = "chat-0"
"""Chosen in dashboard Engine, which is about one engine; everywhere else All is."""
PHASES = ((60.0, 0, 0.7), (60.0, 12, 0.7), (60.0, 28, 0.4), (60.0, 4, 0.9))
"""Seconds, clients beside the usual ones at each engine of ``chat``, and how predictable their texts are."""
SPEED = 0.5
SCRAPE_INTERVAL, RATE_INTERVAL, STEP_SECONDS = "3s", "12s", 2.0
CELL_WIDTH, CELL_HEIGHT = 0.62, 0.28
"""Inches of a column and of a row of Grafana's grid."""
WORDS = {1.0: ("True", "tab:green"), 0.0: ("False", "tab:orange"), -1.0: ("Unknown", "tab:gray")}
MOST_NAMES = 5

Series = tuple[str, list[float], list[float]]
"""Name, seconds since the beginning, values."""


async def observed() -> dict[str, dict[int, list[Series]]]:
    """What every panel shows at the end of the phases, by board and panel."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            # The fleet's clock is the engines', so that rates of requests are what they are to them.
            stand_in_fleet(SPEED, SPEED) as endpoints,
            prometheus(find_program(print), endpoints, Path(folder), SCRAPE_INTERVAL) as server,
            asyncio.TaskGroup() as group,
        ):
            reading = group.create_task(_read_load(endpoints, server.url))
            began = time.time()
            await _phases(endpoints)
            found = {board: await panels(server, board, began, POD) for board in BOARDS}
            reading.cancel()
    return found


async def _phases(endpoints: Endpoints) -> None:
    addresses = [each.address for each in endpoints.fleet.members if each.view.name.startswith("chat")]
    for seconds, clients, acceptance in PHASES:
        async with aiohttp.ClientSession(trust_env=False) as session:
            body = {"prompt": [1] * 200, "max_tokens": 300, "vllm_xargs": {"acceptance": acceptance}}
            urls = [f"http://{address}:{endpoints.serving_port}/v1/completions" for address in addresses]
            tasks = [asyncio.create_task(_client(session, url, body)) for url in urls for _ in range(clients)]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _client(session: aiohttp.ClientSession, url: str, body: Raw) -> None:
    while True:
        async with session.post(url, json=body) as answer:
            await answer.read()


async def _read_load(endpoints: Endpoints, url: str) -> None:
    load = PrometheusLoad.at(url, 0.0, endpoints.fleet.metrics)
    while True:
        await load.read(endpoints.fleet.snapshot)
        await asyncio.sleep(STEP_SECONDS)


async def panels(server: Prometheus, board: str, began: float, pod: str) -> dict[int, list[Series]]:
    """What each panel of a board shows since ``began``, by its id; ``pod`` is chosen where one is."""
    drawn = BOARDS[board]["panels"]
    shown = await asyncio.gather(*(_series(server, panel, began, pod) for panel in drawn))
    return {panel["id"]: series for panel, series in zip(drawn, shown, strict=True)}


async def _series(server: Prometheus, panel: Raw, began: float, pod: str) -> list[Series]:
    found: list[Series] = []
    for target in panel.get("targets", ()):
        expr = substituted(target["expr"].replace("$pod", pod), RATE_INTERVAL)
        for each in await server.query_range(expr, began, time.time(), STEP_SECONDS):
            times, values = zip(*((float(at) - began, float(value)) for at, value in each["values"]), strict=True)
            name = series_name(target["legendFormat"], each["metric"])
            if panel["type"] == "table":
                name = "\n".join(f"{label}: {each['metric'][label]}" for label in each["metric"] if label not in HIDDEN)
            found.append((name, list(times), list(values)))
    return found


def draw(board: str, shown: dict[int, list[Series]], path: Path) -> None:
    """One picture of one dashboard."""
    panels = BOARDS[board]["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(24 * CELL_WIDTH, (rows + 1.5) * CELL_HEIGHT))
    figure.suptitle(BOARDS[board]["title"], x=0.01, ha="left", fontsize=13)
    for panel in panels:
        axes = _axes(figure, panel["gridPos"], rows)
        if panel["type"] == "row":
            axes.axis("off")
            axes.text(0, 0.2, panel["title"], fontsize=11, weight="bold", transform=axes.transAxes)
            continue
        axes.set_title(panel["title"], fontsize=8, loc="left")
        axes.tick_params(labelsize=6)
        if panel["fieldConfig"]["defaults"]["unit"] == "percentunit":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _DRAWN[panel["type"]](axes, panel, shown[panel["id"]])
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _axes(figure: Figure, place: Raw, rows: int) -> Axes:
    height = rows + 1.5
    left, bottom = place["x"] / 24, (rows - place["y"] - place["h"]) / height
    # Room for ticks on the left, for the title above and the legend below.
    inside = (left + 0.03, bottom + 1.7 / height, place["w"] / 24 - 0.04, (place["h"] - 2.8) / height)
    if place["h"] < 3:
        inside = (left + 0.01, bottom, place["w"] / 24, place["h"] / height)
    return figure.add_axes(inside)


def _lines(axes: Axes, panel: Raw, shown: Sequence[Series]) -> None:
    stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    everywhere = sorted({at for _, times, _ in shown for at in times})
    below = dict.fromkeys(everywhere, 0.0)
    for name, times, values in shown:
        if stacked:
            # A series that is not there adds nothing.
            there = dict(zip(times, values, strict=True))
            top = {at: under + there.get(at, 0.0) for at, under in below.items()}
            axes.fill_between(everywhere, [*below.values()], [*top.values()], alpha=0.5, label=name, linewidth=0)
            below = top
        else:
            axes.plot(times, values, linewidth=1, label=name)
    _, highest = axes.get_ylim()
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), highest * 1.1)
    _legend(axes, len(shown))


def _number(axes: Axes, panel: Raw, shown: Sequence[Series]) -> None:
    axes.axis("off")
    value = shown[0][2][-1] if shown else float("nan")
    text = _formatted(value, panel["fieldConfig"]["defaults"]["unit"])
    axes.text(0, 0.2, text, fontsize=14, transform=axes.transAxes)


def _formatted(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        return f"{value / 86_400:.1f} days"
    return f"{value:,.4g}{unit.removeprefix('suffix:') if unit.startswith('suffix:') else ''}"


def _timeline(axes: Axes, panel: Raw, shown: Sequence[Series]) -> None:
    words = len(panel["fieldConfig"]["defaults"]["mappings"][0]["options"]) > 1
    for row, (_, times, values) in enumerate(shown):
        for at, value in zip(times, values, strict=True):
            color = WORDS[value][1] if words else "tab:blue"
            axes.broken_barh([(at, STEP_SECONDS)], (row + 0.1, 0.8), color=color)
    axes.set_yticks([row + 0.5 for row in range(len(shown))], [name for name, _, _ in shown], fontsize=5)
    axes.tick_params(axis="y", direction="in", pad=-4)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
        label.set_bbox({"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5})


def _table(axes: Axes, _panel: Raw, shown: Sequence[Series]) -> None:
    axes.axis("off")
    axes.text(0, 1, "\n".join(name for name, _, _ in shown), fontsize=7, va="top", transform=axes.transAxes)


def _legend(axes: Axes, count: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    more = [f"and {count - MOST_NAMES} more"] if count > MOST_NAMES else []
    names = names[:MOST_NAMES] + more
    axes.legend(
        handles[: len(names)], names, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=3, fontsize=5, frameon=False
    )


_DRAWN: dict[str, Any] = {"timeseries": _lines, "stat": _number, "state-timeline": _timeline, "table": _table}


def main(folder: Path) -> int:
    """Run the fleet, then draw."""
    mpl.use("agg")
    found = asyncio.run(observed())
    for board, shown in found.items():
        draw(board, shown, folder / f"dashboard-{board}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
