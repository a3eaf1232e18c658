"""CEL rules beside the fields they judge; the API server evaluates them (``x-kubernetes-validations``)."""

from pydantic.types import JsonValue


def rules(*pairs: tuple[str, str]) -> dict[str, JsonValue]:
    """Pairs of rule and message as schema extra. A message names the field and what to write instead."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}
