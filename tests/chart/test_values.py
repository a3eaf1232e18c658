"""Every value is documented, known to the schema, and the generated page is up to date."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.chart.conftest import CHART
from tools.generate_values_table import DOCUMENT, document, resolve, values


def test_every_value_has_a_comment() -> None:
    """`helm show values` is documentation."""
    assert [each.path for each in values() if len(each.comment) < 10] == []


def test_the_page_is_what_the_comments_generate() -> None:
    """A change of values.yaml without the tool is caught here."""
    assert DOCUMENT.read_text() == document(), "run: python tools/generate_values_table.py"


def _paths(schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, below in resolve(schema, root)["properties"].items():
        yield f"{prefix}{name}"
        yield from _paths(below, root, f"{prefix}{name}.")


def _keys(tree: object, known: set[str], prefix: str = "") -> Iterator[str]:
    if not isinstance(tree, dict):
        return
    for name, below in tree.items():
        yield f"{prefix}{name}"
        if any(path.startswith(f"{prefix}{name}.") for path in known):
            yield from _keys(below, known, f"{prefix}{name}.")


def test_schema_and_values_hold_the_same_keys() -> None:
    """A value without a form would take anything; a form without a value is not documented."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = set(_paths(schema, schema)) - {"global"}  # Helm's own
    assert set(_keys(yaml.safe_load((CHART / "values.yaml").read_text()), known)) == known


def test_every_object_of_the_schema_is_closed() -> None:
    """Where keys are known, others are refused: a misspelt value must not pass for a default."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def opened(node: object, path: str) -> Iterator[str]:
        if not isinstance(node, dict):
            return
        closed = "additionalProperties" in node or "propertyNames" in node
        if "properties" in node and "type" in node and not closed:
            yield path
        for name, below in node.items():
            if name not in ("then", "if", "definitions"):
                yield from opened(below, f"{path}.{name}")

    assert list(opened(schema, "")) == []
