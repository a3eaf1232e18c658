"""What speculation is worth in replicas: how many the same requests take with the drafter, and started without it.

"Off" is not K = 0: an engine that holds a drafter is slower at K = 0 and has less KV cache than a plain one. So both
are taken at what they can do under the objective, each by a profile of its own.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Capability, attainable
from turbospec.fleet.demand import Lengths

TYPICAL = 50
"""Percentile of the typical request."""


class Variant(StrEnum):
    """How pods should be started."""

    SPECULATIVE = "Speculative"
    PLAIN = "Plain"
    EITHER = "Either"
    """What is known does not tell them apart."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Share of a plain fleet's replicas that speculation saves, at least and at most; below 0 it takes more."""

    low: float
    high: float

    @property
    def recommended(self) -> Variant:
        """A saving is claimed where even the least is one."""
        if self.low > 0.0:
            return Variant.SPECULATIVE
        return Variant.PLAIN if self.high < 0.0 else Variant.EITHER


def worth(speculative: Capability, plain: Capability, lengths: Lengths, error: float) -> Worth | None:
    """Of two engines, for requests of these lengths; None where acceptance is not known.

    ``error``: by how much, relatively, the ratio of what they can do may be off. How much requests of a text differ is
    not measured (``control.objective.REQUEST_SPREAD`` is assumed): at least is with that, at most without.
    """
    without = attainable(plain, lengths)
    with_drafts = [
        attainable(replace(speculative, objective=objective), lengths)
        for objective in (speculative.objective, _typical(speculative.objective))
    ]
    able = [found.requests_per_second for found in with_drafts if found is not None]
    if without is None or len(able) < len(with_drafts):
        return None
    most, least = (without.requests_per_second / rate for rate in (min(able), max(able)))
    return Worth(1.0 - most * (1.0 + error), 1.0 - least * (1.0 - error))


def _typical(objective: Objective) -> Objective:
    percentile = min(TYPICAL, objective.time_per_output_token_percentile)
    return replace(objective, time_per_output_token_percentile=percentile)
