"""What a dashboard is, before it is Grafana's JSON."""

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """How a panel draws its queries."""

    LINES = "lines"
    STACKED = "stacked"
    NUMBER = "number"
    STATES = "states"
    """-1, 0 and 1 over time, as Unknown, False and True."""
    EVENTS = "events"
    """A bar for as long as a series is there."""
    TABLE = "table"
    """The labels of one query's series, now."""


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and how its series are called; ``{{label}}`` stands for a label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """``unit`` as Grafana spells it. ``width``: of the 24 columns of a dashboard."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    form: Form = Form.LINES
    width: int = 8


@dataclass(frozen=True, slots=True)
class Section:
    """A row of panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A filter at the top of a dashboard: the values of ``label`` that the series of ``selector`` have."""

    name: str
    title: str
    selector: str
    label: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. ``name`` is that of its file, and the end of its uid."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    sections: tuple[Section, ...]
