"""What stock vLLM exports, cut into windows of equal length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEAST_REQUEST_STEPS = 20.0
"""Below, a window holds too few decoding steps to say anything: its counters were scraped at its very begin or end."""


@dataclass(frozen=True, slots=True)
class Window:
    """One engine from ``ended_seconds - seconds`` to ``ended_seconds``. Counts may be fractions (Prometheus
    extrapolates).

    ``request_steps`` counts requests over decoding steps (one inter-token latency each), ``latency_seconds`` is the
    sum of those latencies: request-seconds of decoding, the prefill of others included. ``drafts`` is None where the
    engine exports no ``spec_decode`` series: it was started without speculation.
    """

    ended_seconds: float
    seconds: float
    running: float
    """Mean of running requests."""
    running_deviation: float
    """Their standard deviation over the window."""
    generation_tokens: float
    prompt_tokens: float
    """Those that were computed: without what the prefix cache had."""
    steps: float
    request_steps: float
    latency_seconds: float
    finished: float
    """Finished requests; their lengths are the next two."""
    finished_prompt_tokens: float
    finished_generation_tokens: float
    drafts: float | None = None
    draft_tokens: float = 0.0
    accepted: tuple[float, ...] = ()
    """Accepted draft tokens by position."""

    @property
    def busy(self) -> bool:
        """Whether enough was decoded to tell anything."""
        return self.request_steps >= LEAST_REQUEST_STEPS and self.steps > 0 and self.generation_tokens > 0

    @property
    def batch(self) -> float:
        """Mean requests that a step decodes."""
        return max(1.0, self.request_steps / self.steps)

    @property
    def drafted(self) -> float:
        """Mean draft tokens verified per request and step."""
        return self.draft_tokens / self.request_steps


@dataclass(frozen=True, slots=True)
class EngineSeries:
    """One engine: a pod, or one rank of it. ``missing`` names metrics that it should export and does not."""

    name: str
    windows: tuple[Window, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Engines that serve one model in one namespace; "" where Prometheus knows no namespace."""

    namespace: str
    model: str
    engines: tuple[EngineSeries, ...]

    @property
    def busy(self) -> tuple[Window, ...]:
        """All windows that say something."""
        return tuple(window for engine in self.engines for window in engine.windows if window.busy)

    @property
    def missing(self) -> tuple[str, ...]:
        """Metrics that are lacking, where no engine has all of them."""
        if any(engine.windows for engine in self.engines):
            return ()
        return tuple(sorted({name for engine in self.engines for name in engine.missing}))


def moments(windows: Sequence[Window]) -> Iterator[tuple[Window, ...]]:
    """Windows that end together: engines behind one balancer see the same text at the same time."""
    by_end: dict[float, list[Window]] = {}
    for window in windows:
        by_end.setdefault(window.ended_seconds, []).append(window)
    for end in sorted(by_end):
        yield tuple(by_end[end])
