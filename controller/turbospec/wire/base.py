"""The base of every model that crosses a boundary."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class WireModel(BaseModel):
    """Frozen, camelCase on the wire, snake_case inside; unknown fields are refused, NaN and infinity too."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False, strict=False
    )


class LenientModel(WireModel):
    """Like WireModel, but unknown fields are ignored: for what newer or older peers of ours report."""

    model_config = ConfigDict(extra="ignore")
