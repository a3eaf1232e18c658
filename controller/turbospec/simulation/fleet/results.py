"""What a day of one arm is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from turbospec.simulation.fleet.arms import Arm
from turbospec.simulation.fleet.files import FleetScenario
from turbospec.simulation.fleet.pods import Pod
from turbospec.simulation.fleet.serving import Serving
from turbospec.simulation.results import summary
from turbospec.simulation.text import Floats


@dataclass(frozen=True, slots=True)
class Moment:
    """What is drawn of one sync of the autoscaler; None where there is nothing to average."""

    at: float
    replicas: int
    ready: int
    draft_tokens: float | None
    requests_per_pod: float | None
    load_ratio: float | None


@dataclass(frozen=True, slots=True)
class FleetRun:
    """One arm, one seed. The warm-up before the day counts for nothing; arrivals of the day are followed to their end.

    ``replica_seconds``: from each pod's creation until it is gone. A miss is a request over its ceiling on time per
    output token or on time to first token, or one that never ended.
    """

    arm: str
    seed: int
    metric: str
    target: float
    seconds: float
    requests: int
    completed: int
    missed: int
    missed_tpot: int
    missed_ttft: int
    goodput: float
    replica_seconds: float
    scale_events: int
    oscillations: int
    mean_draft_tokens: float
    preemptions: int
    per_token: Floats = field(repr=False)
    first_token: Floats = field(repr=False)
    arrivals: Floats = field(repr=False)
    misses: Floats = field(repr=False)
    """1.0 for each of the day's requests that missed, in the order of ``arrivals``."""
    moments: Sequence[Moment] = field(repr=False, default=())

    @classmethod
    def of(
        cls,
        scenario: FleetScenario,
        arm: Arm,
        *,
        seed: int,
        metric: str,
        target: float,
        serving: Serving,
        pods: Sequence[Pod],
        scale_events: int,
        mean_draft_tokens: float,
        moments: Sequence[Moment],
    ) -> "FleetRun":
        """From what the fleet did."""
        day, objective = arm.day, scenario.spec.objective
        counted = day.at >= 0.0
        at, output = day.at[counted], day.output[counted]
        first, finished = serving.first_token[counted], serving.finished[counted]
        done = np.isfinite(finished)
        per_token = np.where(output > 1, (finished - first) / np.maximum(output - 1, 1), 0.0)
        token, until = objective.time_per_output_token, objective.time_to_first_token
        slow = done & (per_token > (np.inf if token is None else token.milliseconds / 1e3))
        late = done & (first - at > (np.inf if until is None else until.milliseconds / 1e3))
        missed = slow | late | ~done
        within = done & (finished <= day.end)
        return cls(
            arm=arm.name,
            seed=seed,
            metric=metric,
            target=target,
            seconds=day.end,
            requests=len(at),
            completed=int(done.sum()),
            missed=int(missed.sum()),
            missed_tpot=int(slow.sum()),
            missed_ttft=int(late.sum()),
            goodput=float(output[within].sum() / day.end),
            replica_seconds=sum(pod.seconds(0.0, day.end) for pod in pods),
            scale_events=scale_events,
            oscillations=sum(brain.oscillations for brain in arm.brains),
            mean_draft_tokens=mean_draft_tokens,
            preemptions=serving.preemptions,
            per_token=per_token[done],
            first_token=(first - at)[done],
            arrivals=at,
            misses=missed.astype(np.float64),
            moments=moments,
        )

    @property
    def miss_share(self) -> float:
        """Of the day's requests."""
        return self.missed / self.requests if self.requests else 0.0

    @property
    def replica_hours(self) -> float:
        """Pods, ready or not, times hours."""
        return self.replica_seconds / 3600.0

    def as_json(self) -> dict[str, Any]:
        """The object under ``runs``."""
        return {
            "arm": self.arm,
            "seed": self.seed,
            "metric": self.metric,
            "target": self.target,
            "seconds": self.seconds,
            "goodputTokensPerSecond": self.goodput,
            "requests": {
                "arrived": self.requests,
                "completed": self.completed,
                "timePerOutputTokenMilliseconds": summary((self.per_token * 1e3).tolist()),
                "timeToFirstTokenSeconds": summary(self.first_token.tolist()),
            },
            "misses": {
                "requests": self.missed,
                "share": self.miss_share,
                "timePerOutputToken": self.missed_tpot,
                "timeToFirstToken": self.missed_ttft,
                "unfinished": self.requests - self.completed,
            },
            "replicaSeconds": self.replica_seconds,
            "scaleEvents": self.scale_events,
            "draftTokenOscillations": self.oscillations,
            "meanDraftTokens": self.mean_draft_tokens,
            "preemptions": self.preemptions,
        }
