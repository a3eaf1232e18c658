"""What Prometheus told of requests that come, as the pure decider sees it. Times are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueriedDemand:
    """What Prometheus answered at ``seconds`` to a policy's query; ``requests_per_second`` is None where it is of no
    use, and ``reason`` then says why, in one word."""

    namespace: str
    policy: str
    query: str
    requests_per_second: float | None
    reason: str
    message: str
    seconds: float


Samples = tuple[tuple[float, ...], tuple[float, ...]]
"""Times, rising, and values."""


@dataclass(frozen=True, slots=True)
class DemandHistory:
    """Demand of the last days by (namespace, scale target), as read at ``seconds``; ``reason`` says whether it was."""

    series: Mapping[tuple[str, str], Samples]
    reason: str
    message: str
    seconds: float
