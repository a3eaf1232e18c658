"""Durations as people write them in resources: ``12h``, ``30d``, ``8w``."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from turbospec.wire.cel import rules

_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}
_PATTERN = "^[1-9][0-9]{0,3}[hdw]$"
_MESSAGE = "a duration must be a whole number with the unit h, d or w: write 30d for thirty days"


def duration_seconds(text: str) -> float:
    """Seconds of a duration. Raises ValueError, saying what to write, for anything else."""
    if re.fullmatch(_PATTERN, text) is None:
        raise ValueError(_MESSAGE)
    return int(text[:-1]) * _SECONDS[text[-1]]


def _checked(text: str) -> str:
    duration_seconds(text)
    return text


Duration = Annotated[
    str,
    Field(max_length=16, json_schema_extra=rules((f"self.matches('{_PATTERN}')", _MESSAGE))),
    AfterValidator(_checked),
]
"""Hours, days or weeks; kept as it was written."""
