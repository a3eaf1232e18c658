"""What engines and clients report, reduced to the figures of a window. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Step = Mapping[str, Any]
"""One row of GET /v1/steps by field name (``turbospec.control.step.StepRecord``)."""


@dataclass(frozen=True)
class StepSummary:
    """Steps of one or more engines in a stretch of time. None is unknown: no step decoded, or nothing was drafted."""

    steps: int
    mean_draft_tokens: float | None
    mean_batch: float | None
    acceptance_rate: float | None
    generated_tokens: int


def summarise(steps: Iterable[Step]) -> StepSummary:
    """K and batch are means over the steps that decoded; the acceptance rate is accepted over drafted tokens."""
    rows = list(steps)
    decoding = [row for row in rows if row["decodes"]]
    drafted = sum(sum(row["drafted_per_position"]) for row in rows)
    accepted = sum(sum(row["accepted_per_position"]) for row in rows)
    return StepSummary(
        steps=len(rows),
        mean_draft_tokens=mean([row["decided_draft_tokens"] for row in decoding]),
        mean_batch=mean([row["decodes"] for row in decoding]),
        acceptance_rate=accepted / drafted if drafted else None,
        generated_tokens=sum(row["generated_tokens"] for row in rows),
    )


def mean(values: Sequence[float]) -> float | None:
    """None for no values: an idle engine has no batch, which is not a batch of 0."""
    return sum(values) / len(values) if values else None
