"""What a line of the benchmark reports."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work, run in any process: ``function(*arguments)`` gives one or more rows."""

    line: int
    function: Callable[..., list[dict[str, Any]]]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One target of a line: what was asked, what was measured, whether that is enough."""

    line: int
    asked: str
    measured: str
    met: bool
    worst: Sequence[str] = field(default_factory=tuple)
    """The worst cases, worst first."""


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values."""
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else math.nan


def worst_rows(rows: Sequence[dict[str, Any]], key: str, names: Sequence[str], count: int = 5) -> list[str]:
    """The rows with the smallest ``key``, in words."""
    chosen = sorted(rows, key=lambda row: float(row[key]))[:count]
    return [f"{', '.join(str(row[name]) for name in names)}: {row[key]:.4f}" for row in chosen]
