"""What speculation is worth in replicas: how many the same requests take with the drafter, and started without it.

"Off" is not K = 0: an engine that holds a drafter is slower at K = 0 and has less KV cache than a plain one. So both
are taken at what they can do under the objective, each by a profile of its own.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Capability, LoadSignal, attainable
from turbospec.fleet.demand import Lengths
from turbospec.fleet.snapshot import PlainView

TYPICAL = 50
"""Percentile of the typical request."""

ERRORS = 2.0
"""Standard errors that a claim is held to: about 95%."""


class Variant(StrEnum):
    """How pods should be started."""

    SPECULATIVE = "Speculative"
    PLAIN = "Plain"
    EITHER = "Either"
    """What is known does not tell them apart."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Share of a plain fleet's replicas that speculation saves, at least and at most; below 0 it takes more.

    ``kept``: it would be more, were it not for a metric that the autoscaler keeps (``preserve_worth``).
    """

    low: float
    high: float
    kept: bool = False

    @property
    def recommended(self) -> Variant:
        """A saving is claimed where even the least is one."""
        if self.low > 0.0:
            return Variant.SPECULATIVE
        return Variant.PLAIN if self.high < 0.0 else Variant.EITHER


class UnknownWorth(StrEnum):
    """Why nothing is claimed."""

    NOT_MEASURED = "PlainNotMeasured"
    REFUSED = "PlainRefused"
    ERROR_UNKNOWN = "ErrorUnknown"
    """Nobody knows how far the profile may be off, or it may be off by anything."""
    PENDING = "WorthPending"
    """Passes by itself: no requests yet, no drafts, no pod that is Ready."""


@dataclass(frozen=True, slots=True)
class Value:
    """What it is worth by this profile, as known at ``seconds``; where it is not known, ``why``, in one clause."""

    seconds: float
    profile: str
    worth: Worth | None = None
    unknown: UnknownWorth | None = None
    why: str = ""


def replicas_saved(worth: Worth, signal: LoadSignal) -> tuple[float, float]:
    """How many more pods a fleet without the drafter would take for the demand of now than this one does, all of them
    at full load: at least and at most; below 0 it would take fewer."""
    pods = signal.demand_tokens_per_second / signal.pod_capacity_tokens_per_second
    return pods * worth.low / (1.0 - worth.low), pods * worth.high / (1.0 - worth.high)


def without_drafter(engine: Capability, plain: PlainView) -> Capability:
    """The same engine, with the same arguments, started without its drafter."""
    return replace(
        engine,
        latency=plain.latency,
        estimates=(),
        draft_tokens=(0,),
        table=None,
        kv_cache_tokens=plain.kv_cache_tokens,
    )


def worth(speculative: Capability, plain: PlainView, lengths: Lengths, errors: Iterable[float]) -> Worth | None:
    """Of this engine against the same one without its drafter, for requests of these lengths.

    ``errors``: relative standard errors of what is compared, independent of each other; both ends are two of all of
    them wide. How much requests of a text differ is not measured (``control.objective.REQUEST_SPREAD`` is assumed): at
    least is with that, at most without. None where acceptance is not known, or the errors leave nothing known.
    """
    error = ERRORS * math.hypot(*errors)
    wanted = {speculative.objective, _typical(speculative.objective)}
    with_drafts = [attainable(replace(speculative, objective=objective), lengths) for objective in wanted]
    able = [found.requests_per_second for found in with_drafts if found is not None]
    if len(able) < len(with_drafts) or not error < 1.0:
        return None
    without = attainable(without_drafter(speculative, plain), lengths)
    if without is None:
        return None
    most, least = (without.requests_per_second / rate for rate in (min(able), max(able)))
    return Worth(1.0 - most * (1.0 + error), 1.0 - least * (1.0 - error))


def _typical(objective: Objective) -> Objective:
    if objective.time_per_output_token_seconds is None:
        return objective
    percentile = min(TYPICAL, objective.time_per_output_token_percentile)
    return replace(objective, time_per_output_token_percentile=percentile)
