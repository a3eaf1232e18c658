"""The dashboards as they are committed, and so as Grafana gets them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.generate_dashboards import FOLDER

Raw = dict[str, Any]
BOARDS: dict[str, Raw] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

LEGEND_LABEL = re.compile(r"\{\{(\w+)\}\}")
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
RATE_INTERVAL = "10s"
"""In place of what Grafana would find right: some scrapes of the Prometheus of these tests."""


@dataclass(frozen=True, slots=True)
class Target:
    """One query of one panel."""

    board: str
    panel: str
    expr: str
    legend: str

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.expr}"


def panels(board: str) -> Iterator[Raw]:
    """All but the headings."""
    yield from (panel for panel in BOARDS[board]["panels"] if panel["type"] != "row")


def targets() -> list[Target]:
    """Every query of every panel."""
    return [
        Target(board, panel["title"], target["expr"], target["legendFormat"])
        for board in BOARDS
        for panel in panels(board)
        for target in panel["targets"]
    ]


def variables(board: str) -> dict[str, Raw]:
    """By name, the data source left out."""
    found: list[Raw] = BOARDS[board]["templating"]["list"]
    return {each["name"]: each for each in found if each["type"] == "query"}


def label_values(query: str) -> tuple[str, str]:
    """Selector and label of a variable's query."""
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert match is not None, query
    return match[1], match[2]


def substituted(text: str, rate_interval: str = RATE_INTERVAL) -> str:
    """With All chosen everywhere, as Prometheus gets it."""
    return VARIABLE.sub(".*", text.replace("$__rate_interval", rate_interval))


def series_name(legend: str, labels: Mapping[str, str]) -> str:
    """What Grafana calls a series; a label that it does not have is nothing there."""
    return LEGEND_LABEL.sub(lambda match: labels.get(match[1], ""), legend)
