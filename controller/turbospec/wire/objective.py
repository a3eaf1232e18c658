"""Latency ceilings as policies and control documents carry them: whole milliseconds, as custom resources hold no
floats."""

from typing import Annotated

from pydantic import Field

from turbospec.control.objective import Objective
from turbospec.wire.base import WireModel
from turbospec.wire.cel import rules


class LatencyCeiling(WireModel):
    """A ceiling for all requests up to a percentile, the slowest ones apart."""

    milliseconds: Annotated[
        int,
        Field(
            ge=1,
            le=3_600_000,
            description="The ceiling, in whole milliseconds.",
            json_schema_extra=rules(
                (
                    "self >= 1 && self <= 3600000",
                    "milliseconds must be 1 to 3600000: write the ceiling as a whole number, or remove it to have none",
                ),
            ),
        ),
    ]
    percentile: Annotated[
        int,
        Field(
            ge=1,
            le=99,
            description="Share of the requests, in percent, that shall stay below the ceiling: 90 leaves out the "
            "slowest tenth.",
            json_schema_extra=rules(
                (
                    "self >= 1 && self <= 99",
                    "percentile must be 1 to 99: write 90 to hold the ceiling for all but the slowest tenth of the "
                    "requests; nothing can promise it for the slowest one",
                ),
            ),
        ),
    ] = 90


class ObjectiveDocument(WireModel):
    """Ceilings that goodput is maximised under; without any it is maximised freely."""

    time_per_output_token: Annotated[
        LatencyCeiling | None,
        Field(
            description="Ceiling on a request's mean time per output token after the first (TPOT). Not on inter-token "
            "latency, which speculation makes uneven."
        ),
    ] = None
    time_to_first_token: Annotated[
        LatencyCeiling | None,
        Field(description="Ceiling on the time from a request's arrival to its first token (TTFT)."),
    ] = None


def to_objective(document: ObjectiveDocument | None) -> Objective:
    """The ceilings in seconds; none where there is no document."""
    if document is None:
        return Objective()
    output, first = document.time_per_output_token, document.time_to_first_token
    return Objective(
        time_per_output_token_seconds=None if output is None else output.milliseconds / 1e3,
        time_per_output_token_percentile=90 if output is None else output.percentile,
        time_to_first_token_seconds=None if first is None else first.milliseconds / 1e3,
        time_to_first_token_percentile=90 if first is None else first.percentile,
    )


def from_objective(objective: Objective) -> ObjectiveDocument | None:
    """The document of these ceilings, in whole milliseconds (at least one); None where there are none."""
    if objective.empty:
        return None
    return ObjectiveDocument(
        time_per_output_token=_ceiling(
            objective.time_per_output_token_seconds, objective.time_per_output_token_percentile
        ),
        time_to_first_token=_ceiling(objective.time_to_first_token_seconds, objective.time_to_first_token_percentile),
    )


def _ceiling(seconds: float | None, percentile: int) -> LatencyCeiling | None:
    if seconds is None:
        return None
    return LatencyCeiling(milliseconds=max(1, round(seconds * 1e3)), percentile=percentile)
