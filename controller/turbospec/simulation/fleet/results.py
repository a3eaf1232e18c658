"""What a day of one arm is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbospec.fleet.worth import Worth
from turbospec.simulation.fleet.arms import Arm
from turbospec.simulation.fleet.arrivals import Day, Ints
from turbospec.simulation.fleet.files import CeilingsSpec, FleetScenario
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
    expected_pods: float | None


@dataclass(frozen=True, slots=True)
class Requests:
    """Those of the day, without its warm-up: what became of them so far, in the order of their arrival."""

    at: Floats
    output: Ints
    finished: Floats
    first_token: Floats
    """Seconds from arrival; NaN before it is there, as ``per_token`` is before the last one."""
    per_token: Floats
    done: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    """Over the ceiling on time per output token."""
    late: NDArray[np.bool_]
    """Over the ceiling on time to first token."""

    @classmethod
    def of(cls, objective: CeilingsSpec, day: Day, serving: Serving, arrived: int | None = None) -> "Requests":
        """Judged by the ceilings; only the first ``arrived`` requests, those of the warm-up counted in, where given."""
        counted = np.flatnonzero(day.at[:arrived] >= 0.0)
        at, output = day.at[counted], day.output[counted]
        first, finished = serving.first_token[counted], serving.finished[counted]
        done = np.isfinite(finished)
        per_token = np.where(output > 1, (finished - first) / np.maximum(output - 1, 1), 0.0)
        token, until = objective.time_per_output_token, objective.time_to_first_token
        slow = done & (per_token > (np.inf if token is None else token.milliseconds / 1e3))
        late = done & (first - at > (np.inf if until is None else until.milliseconds / 1e3))
        return cls(at, output, finished, first - at, per_token, done, slow, late)


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
    stopped: bool = False
    """The day was not gone through to its end: too many had missed. What had not come counts as missed."""
    worth: Worth | None = None
    """What the fleet loop would say, at the end of the day, that the drafter saves."""

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
        stopped: bool = False,
        worth: Worth | None = None,
    ) -> "FleetRun":
        """From what the fleet did."""
        day = arm.day
        of_day = Requests.of(scenario.spec.objective, day, serving)
        at, done, slow, late = of_day.at, of_day.done, of_day.slow, of_day.late
        missed = slow | late | ~done
        within = done & (of_day.finished <= day.end)
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
            goodput=float(of_day.output[within].sum() / day.end),
            replica_seconds=sum(pod.seconds(0.0, day.end) for pod in pods),
            scale_events=scale_events,
            oscillations=sum(brain.oscillations for brain in arm.brains),
            mean_draft_tokens=mean_draft_tokens,
            preemptions=serving.preemptions,
            stopped=stopped,
            worth=worth,
            per_token=of_day.per_token[done],
            first_token=of_day.first_token[done],
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
        worth = self.worth
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
            **({"stopped": True} if self.stopped else {}),
            **({} if worth is None else {"recommended": worth.recommended, "replicasSaved": [worth.low, worth.high]}),
        }
