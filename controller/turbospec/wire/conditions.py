"""Status conditions as the Kubernetes API conventions spell them."""

from typing import Annotated, Literal

from pydantic import Field

from turbospec.wire.base import WireModel


class Condition(WireModel):
    """One condition; ``reason`` is a CamelCase word for machines, ``message`` says what to do."""

    type: Annotated[str, Field(max_length=64, description="Name of the condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    observed_generation: Annotated[int, Field(ge=0, description="Generation of the spec that it was judged on.")]
    last_transition_time: Annotated[
        str, Field(description="When the status last changed.", json_schema_extra={"format": "date-time"})
    ]
    reason: Annotated[
        str, Field(max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9]*)$", description="Why, as one CamelCase word.")
    ]
    message: Annotated[str, Field(max_length=4096, description="Why, for people, and what to do.")]
