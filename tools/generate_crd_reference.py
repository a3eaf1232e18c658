"""Write docs/reference/custom-resources.md out of the wire models: ``python tools/generate_crd_reference.py``."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbospec.wire.crd import CLUSTER_PROFILE, CUSTOM_RESOURCES, GROUP, PROFILE, VERSION, CustomResource, crd_manifest

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reference" / "custom-resources.md"
HEADER = f"""\
# Custom resources

Written by tools/generate_crd_reference.py out of controller/turbospec/wire; change the models, then run it again.
All are of `{GROUP}/{VERSION}`. `kubectl explain specpol.spec --recursive` tells the same from the cluster.

`[]` is each item of a list, `.*` each value of a map with names of one's own. *required*: the API server refuses the
object (or the item that the field belongs to) without it. The status is the operator's; what it says of conditions is
in [troubleshooting](../troubleshooting.md).
"""

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its dotted path, what it holds, and what the definition says of it."""

    path: str
    type: str
    required: bool
    schema: Raw


def fields(schema: Raw, path: str) -> Iterator[Field]:
    """The fields below a node of a structural schema, depth first, each before what it holds."""
    required = schema.get("required", ())
    for name, below in schema.get("properties", {}).items():
        yield from _field(below, f"{path}.{name}", name in required)


def _field(schema: Raw, path: str, required: bool) -> Iterator[Field]:
    inner, suffix = _inside(schema)
    yield Field(path, _type(schema), required, schema)
    yield from fields(inner, path + suffix)


def _inside(schema: Raw) -> tuple[Raw, str]:
    """What a list or a map holds in the end, and how that is spelt."""
    suffix = ""
    while True:
        if "items" in schema:
            schema, suffix = schema["items"], f"{suffix}[]"
        elif isinstance(schema.get("additionalProperties"), Mapping):
            schema, suffix = schema["additionalProperties"], f"{suffix}.*"
        else:
            return schema, suffix


def _type(schema: Raw) -> str:
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    return str(schema.get("type", "any"))


def meaning(field: Field) -> str:
    """A field's description, and the limits that the API server holds it to."""
    inner, _ = _inside(field.schema)
    parts = [str(field.schema.get("description", ""))]
    if values := inner.get("enum"):
        parts.append(f"One of {', '.join(f'`{value}`' for value in values)}.")
    if "minimum" in inner and "maximum" in inner:
        parts.append(f"{inner['minimum']} to {inner['maximum']}.")
    if "maxItems" in field.schema:
        parts.append(f"At most {field.schema['maxItems']}.")
    if "default" in field.schema and field.schema["default"] not in ({}, []):
        parts.append(f"Default: `{json.dumps(field.schema['default'])}`.")
    if field.required:
        parts.append("*required*")
    return " ".join(part for part in parts if part).replace("|", "\\|").replace("\n", " ")


def section(resource: CustomResource) -> str:
    """All about one kind."""
    definition = crd_manifest(resource)["spec"]
    version = definition["versions"][0]
    names = definition["names"]
    schema = version["schema"]["openAPIV3Schema"]
    lines = [
        f"## {resource.kind}",
        "",
        schema["description"],
        "",
        f"{definition['scope']}; `{names['plural']}`, short `{', '.join(names['shortNames'])}`.",
        "",
        *_table("column", ((each["name"], each["description"]) for each in version["additionalPrinterColumns"])),
    ]
    if resource is CLUSTER_PROFILE:
        lines += [
            f"Its spec is that of a [{PROFILE.kind}](#{PROFILE.kind.lower()}). The operator writes no status of it.",
            "",
        ]
        return "\n".join(lines)
    for part in ("spec", "status"):
        rows = ((each.path, each.type, meaning(each)) for each in fields(schema["properties"][part], part))
        lines += [f"### {resource.kind} {part}", "", *_table("field", rows, "type")]
    return "\n".join(lines)


def _table(first: str, rows: Iterator[tuple[str, ...]], *middle: str) -> list[str]:
    head = [first, *middle, "meaning"]
    body = (f"| `{name}` | {' | '.join(rest)} |" for name, *rest in rows)
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body, ""]


def document() -> str:
    """The whole page."""
    return "\n".join([HEADER, *(section(resource) for resource in CUSTOM_RESOURCES)]).rstrip() + "\n"


def main() -> int:
    """Write the page."""
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
