"""Status conditions as the Kubernetes API conventions spell them."""

from typing import Annotated, Literal

from pydantic import Field

from turbospec.wire.base import WireModel


class Condition(WireModel):
    """One condition; ``reason`` is a CamelCase word for machines, ``message`` says what to do."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: Annotated[int, Field(ge=0)]
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    reason: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9]*)$")]
    message: Annotated[str, Field(max_length=4096)]
