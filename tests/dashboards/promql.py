"""PromQL taken apart by a parser of its own, so that a name in a string or a label is not taken for a series."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

from tests.dashboards.committed import RATE_INTERVAL


@dataclass(frozen=True, slots=True)
class Selector:
    """One use of a series. ``rated``: the function and the range it is taken over, where it is."""

    name: str
    matchers: tuple[tuple[str, str], ...]
    rated: tuple[str, str] | None = None

    def filters(self, label: str, variable: str) -> bool:
        """Whether a matcher on this label follows this variable."""
        return any(name == label and f"${variable}" in value for name, value in self.matchers)


def selectors(expr: str) -> list[Selector]:
    """Every series that the expression uses. Raises ValueError where it cannot be parsed."""
    marked = expr.replace("$__rate_interval", RATE_INTERVAL)
    return list(_walk(promql_parser.parse(marked), None))


def _walk(node: Any, function: str | None) -> Iterator[Selector]:
    match node:
        case promql_parser.VectorSelector():
            yield _selector(node, None)
        case promql_parser.MatrixSelector():
            yield _selector(node.vector_selector, (function or "", f"{node.range.total_seconds():.0f}s"))
        case promql_parser.Call():
            for argument in node.args:
                yield from _walk(argument, node.func.name)
        case promql_parser.BinaryExpr():
            yield from _walk(node.lhs, function)
            yield from _walk(node.rhs, function)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from _walk(node.expr, function)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise ValueError(f"{type(node).__name__} is used in no query of ours yet")


def _selector(node: Any, rated: tuple[str, str] | None) -> Selector:
    return Selector(node.name, tuple((each.name, each.value) for each in node.matchers.matchers), rated)
