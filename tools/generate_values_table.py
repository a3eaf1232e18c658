"""Write docs/reference/values.md out of the chart's values.yaml: ``python tools/generate_values_table.py``.

The comment above a key documents it. What the schema gives no properties is one value, whatever it holds.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "turbospec"
DOCUMENT = ROOT / "docs" / "reference" / "values.md"
HEADER = """\
# Values of the Helm chart

Written by tools/generate_values_table.py out of charts/turbospec/values.yaml; change its comments and run it again.
Unknown values and values of the wrong form are refused (values.schema.json).

| value | default | meaning |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its dotted path, its default, and what the comment above it says (empty where there is none)."""

    path: str
    default: object
    comment: str


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """A node of the schema with what its ``$ref`` and ``allOf`` bring in."""
    merged: dict[str, Any] = {**schema, "properties": dict(schema.get("properties", {}))}
    for part in [*schema.get("allOf", ()), *([schema] if "$ref" in schema else ())]:
        target = root["definitions"][part["$ref"].rsplit("/", 1)[-1]]
        merged["properties"] |= resolve(target, root)["properties"]
    return merged


def values() -> Iterator[Value]:
    """Every value of the chart, in the order of values.yaml."""
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise TypeError(f"{CHART / 'values.yaml'} holds no mapping")
    yield from _values(node, schema, schema, text.splitlines(), "")


def _values(
    mapping: yaml.MappingNode, schema: Mapping[str, Any], root: Mapping[str, Any], lines: list[str], prefix: str
) -> Iterator[Value]:
    known = resolve(schema, root)["properties"]
    for key, node in mapping.value:
        path = f"{prefix}{key.value}"
        below = known.get(key.value, {})
        comment = _comment_above(lines, key.start_mark.line)
        if isinstance(node, yaml.MappingNode) and resolve(below, root)["properties"] and not node.flow_style:
            yield from _values(node, below, root, lines, f"{path}.")
        else:
            yield Value(path, yaml.safe_load(yaml.serialize(node)), comment)


def _comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().lstrip("# "))
    return " ".join(found)


def document() -> str:
    """The whole page."""
    rows = (f"| `{each.path}` | `{json.dumps(each.default)}` | {each.comment.replace('|', '/')} |" for each in values())
    return HEADER + "\n".join(rows) + "\n"


def main() -> int:
    """Write the page."""
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
