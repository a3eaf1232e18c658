"""What a run is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from turbospec.simulation.workload import Request


@dataclass(slots=True)
class Stretch:
    """A part of the run: one phase of the workload."""

    started: float
    ended: float = 0.0
    output_tokens: int = 0
    steps: int = 0
    draft_tokens: int = 0
    """Sum of K over the steps."""

    @property
    def goodput(self) -> float:
        """Tokens per second."""
        return self.output_tokens / max(self.ended - self.started, 1e-12)


@dataclass(slots=True)
class Series:
    """One value per step: its end, K, requests still decoding, tokens delivered, draft tokens verified, accepted."""

    ended: list[float] = field(default_factory=list)
    draft_tokens: list[int] = field(default_factory=list)
    decodes: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """One arm. Goodput and ``seconds`` are of the workload's own time; requests are followed to their end."""

    controller: str
    seconds: float
    output_tokens: int
    stretches: list[Stretch]
    requests: list[Request]
    mean_draft_tokens: float
    table_changes: int
    preemptions: int
    steps: int
    extra: dict[str, Any] = field(default_factory=dict)
    """What only this controller has, with its names on the wire."""
    series: Series | None = None

    @property
    def goodput(self) -> float:
        """Tokens per second."""
        return self.output_tokens / self.seconds if self.seconds > 0 else 0.0

    def latencies(self) -> list[float]:
        """Seconds from arrival to last token."""
        return [(r.finished or 0.0) - r.arrived for r in self.requests]

    def as_json(self) -> dict[str, Any]:
        """The object under ``runs``."""
        done = self.requests
        outputs = [
            1e3 * ((r.finished or 0.0) - (r.first_token or 0.0)) / (r.output_tokens - 1)
            for r in done
            if r.output_tokens > 1
        ]
        return {
            "controller": self.controller,
            "goodputTokensPerSecond": self.goodput,
            "outputTokens": self.output_tokens,
            "seconds": self.seconds,
            "requests": {
                "completed": len(done),
                "latencySeconds": summary(self.latencies()),
                "timePerOutputTokenMilliseconds": summary(outputs),
                "timeToFirstTokenSeconds": summary([(r.first_token or 0.0) - r.arrived for r in done]),
            },
            "meanDraftTokens": self.mean_draft_tokens,
            "tableChanges": self.table_changes,
            "preemptions": self.preemptions,
            "steps": self.steps,
            "phases": [
                {
                    "startedSeconds": s.started,
                    "seconds": s.ended - s.started,
                    "goodputTokensPerSecond": s.goodput,
                    "outputTokens": s.output_tokens,
                    "meanDraftTokens": s.draft_tokens / s.steps if s.steps else 0.0,
                }
                for s in self.stretches
            ],
            **self.extra,
        }


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and percentiles; None where there is nothing to summarise."""
    if not values:
        return {"mean": None, "p50": None, "p95": None, "p99": None}
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return {"mean": float(np.mean(values)), "p50": p50, "p95": p95, "p99": p99}
