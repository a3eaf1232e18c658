"""The committed CustomResourceDefinitions are the wire models', and every field explains itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

from tools.generate_crds import FOLDERS, file_name, rendered
from turbospec.wire.base import WireModel
from turbospec.wire.crd import CUSTOM_RESOURCES, POLICY, CustomResource, crd_manifest, structural_schema

RESOURCES = pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node below one, with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from fields(schema["items"], f"{path}[]")


def root_schema(resource: CustomResource) -> dict[str, Any]:
    """The openAPIV3Schema of a resource."""
    schema: dict[str, Any] = crd_manifest(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@RESOURCES
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_committed_files_are_what_the_models_generate(folder: Path, resource: CustomResource) -> None:
    """A change of a model without `python tools/generate_crds.py` is caught here; the chart ships the same bytes."""
    assert (folder / file_name(resource)).read_text() == rendered(resource), "run: python tools/generate_crds.py"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_no_other_definition_lies_around(folder: Path) -> None:
    """A renamed resource leaves no stale file behind."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(map(file_name, CUSTOM_RESOURCES))


@RESOURCES
def test_every_field_is_described(resource: CustomResource) -> None:
    """`kubectl explain` has an answer for each field."""
    silent = [path for path, node in fields(root_schema(resource), resource.kind) if not node.get("description")]
    assert silent == [f"{resource.kind}.metadata"]  # described by the API server itself


@RESOURCES
def test_status_has_no_defaults(resource: CustomResource) -> None:
    """What the operator wrote is what it reads back."""
    status = root_schema(resource)["properties"]["status"]
    assert [path for path, node in fields(status, "status") if "default" in node] == []


def test_policy_columns_answer_whether_it_works_and_what_k_is() -> None:
    """The columns of `kubectl get specpol`, in order."""
    columns = [column.name for column in POLICY.columns if column.priority == 0]
    assert columns == ["MODE", "PODS", "CONTROLLED", "PROFILE", "K", "READY", "ADVICE", "AGE"]


def test_yaml_and_manifest_agree() -> None:
    """Rendering loses nothing."""
    assert yaml.safe_load(rendered(POLICY)) == crd_manifest(POLICY)


class _Leaf(WireModel):
    """A leaf with ``code``."""

    above_zero: Annotated[int, Field(gt=0)]
    below_one: Annotated[float, Field(lt=1)]
    only: Literal["one"] = "one"


class _Branch(WireModel):
    """A branch."""

    size: Annotated[int, Field(ge=0, le=9)] = 3


class _Tree(WireModel):
    """Everything the converter must bridge."""

    leaf: _Leaf | None = None
    leaves: Annotated[tuple[_Leaf, ...], Field(description="Many.")] = ()
    nested: _Branch = _Branch()
    text: str | None = None
    named: dict[str, int]


def test_differences_between_json_schema_and_structural_schema_are_bridged() -> None:
    """References, null branches, exclusive bounds and constants come out as Kubernetes spells them."""
    leaf = {
        "type": "object",
        "description": "A leaf with 'code'.",
        "required": ["aboveZero", "belowOne"],
        "properties": {
            "aboveZero": {"type": "integer", "minimum": 1, "format": "int64"},
            "belowOne": {"type": "number", "maximum": 1, "exclusiveMaximum": True},
            "only": {"type": "string", "enum": ["one"], "default": "one"},
        },
    }
    assert structural_schema(_Tree) == {
        "type": "object",
        "description": "Everything the converter must bridge.",
        "properties": {
            "leaf": leaf,
            "leaves": {"type": "array", "description": "Many.", "items": leaf, "default": []},
            "text": {"type": "string"},
            "nested": {
                "type": "object",
                "description": "A branch.",
                "properties": {
                    "size": {"type": "integer", "minimum": 0, "maximum": 9, "format": "int32", "default": 3}
                },
                "default": {},
            },
            "named": {"type": "object", "additionalProperties": {"type": "integer", "format": "int64"}},
        },
        "required": ["named"],
    }


class _Union(WireModel):
    """What Kubernetes cannot hold."""

    either: int | str


def test_unions_are_refused_by_name() -> None:
    """A model that no structural schema can hold fails at generation, naming the field."""
    with pytest.raises(ValueError, match=r"_Union\.either.*union of 2 types"):
        structural_schema(_Union)
