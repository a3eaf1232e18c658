"""The reference of custom resources is what the models say, all of it."""

import pytest

from tools.generate_crd_reference import DOCUMENT, document, fields, meaning
from turbospec.wire.crd import CUSTOM_RESOURCES, CustomResource, crd_manifest


def test_the_page_is_what_the_models_generate() -> None:
    """A change of a model without the tool is caught here."""
    assert DOCUMENT.read_text() == document(), "run: make reference"


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda each: each.kind)
def test_every_field_says_what_it_is(resource: CustomResource) -> None:
    """kubectl explain and the page alike."""
    schema = crd_manifest(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    found = [each for part in ("spec", "status") for each in fields(schema[part], part)]
    assert [each.path for each in found if not each.schema.get("description")] == []


def test_lists_maps_and_limits_are_told() -> None:
    """As far as the API server enforces them."""
    schema = {
        "required": ["rows"],
        "properties": {
            "rows": {
                "type": "array",
                "maxItems": 3,
                "description": "Some rows.",
                "items": {"type": "object", "properties": {"k": {"type": "integer", "minimum": 0, "maximum": 7}}},
            },
            "labels": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A", "description": "Which."},
        },
    }
    found = [(each.path, each.type, meaning(each)) for each in fields(schema, "spec")]
    assert found == [
        ("spec.rows", "list of object", "Some rows. At most 3. *required*"),
        ("spec.rows[].k", "integer", "0 to 7."),
        ("spec.labels", "map of string", ""),
        ("spec.mode", "string", 'Which. One of `A`, `B`. Default: `"A"`.'),
    ]
