"""Small fleets, and one engine stepped both ways, for tests of the fleet simulator."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.fleet.arrivals import Day, draw
from turbospec.simulation.fleet.files import FleetScenario, FleetScenarioFile
from turbospec.simulation.fleet.replica import Done, Load
from turbospec.simulation.fleet.serving import MACRO_SECONDS, Serving
from turbospec.simulation.text import LEVELS, TextBank
from turbospec.simulation.workload import Request

LINEAR = {
    "secondsPerKvToken": 4e-8,
    "secondsPerBatchedToken": 2e-5,
    "secondsPerStep": 6e-3,
    "draftSecondsPerToken": 1e-6,
    "draftSecondsPerPass": 1e-3,
    "overheadSeconds": 1e-3,
}


def scenario(engine: dict[str, object] | None = None, **changes: object) -> FleetScenario:
    """Ten minutes of 20 requests/s, two replicas; ``changes`` are fields as in SCENARIO.yaml."""
    fields: dict[str, object] = {
        "engine": {
            "maxNumSeqs": 64,
            "maxDraftTokens": 7,
            "allowedDraftTokens": [0, 1, 3, 7],
            "kvCacheTokens": 100_000,
            "maxNumBatchedTokens": 2048,
            "stepTime": {"linear": LINEAR},
            **(engine or {}),
        },
        "objective": {"timePerOutputToken": {"milliseconds": 20}, "timeToFirstToken": {"milliseconds": 1000}},
        "autoscaler": {"initialReplicas": 2, "maxReplicas": 10, "target": 20},
        "warmUpSeconds": 0,
        "load": [
            {
                "seconds": 600,
                "requestsPerSecond": 20,
                "promptTokens": 200,
                "outputTokens": 150,
                "lengthSpread": 0.5,
                "acceptance": [0.7, 0.6, 0.5],
            }
        ],
        **changes,
    }
    return FleetScenario(FleetScenarioFile.model_validate(fields), Path("scenario.yaml"))


class Fixed:
    """One K always."""

    learns = False

    def __init__(self, k: int) -> None:
        self._k = [k]

    def decide(self, load: Load) -> Sequence[int]:  # noqa: ARG002 - the point of it
        """Always the same."""
        return self._k

    def learn(self, done: Done) -> None:
        """Nothing is learnt."""


@dataclass(frozen=True)
class Served:
    """What one engine did with a day: delivered tokens per second, means over requests, mean running requests."""

    goodput: float
    seconds_per_token: float
    first_token: float
    latency: float


def stepwise(given: FleetScenario, day: Day, k: int) -> Served:
    """The day on one engine, every step taken by itself."""
    spec = given.spec.engine
    bank = TextBank(7, spec.max_draft_tokens, int(day.output.max()))
    engine = SimulatedEngine(spec, bank, 7)
    requests = []
    for i, at in enumerate(day.at.tolist()):
        part = given.spec.load[int(day.kind[i]) // LEVELS]
        text = bank.text(int(day.kind[i]) // LEVELS, part.text, i)
        requests.append(Request(i, at, int(day.prompt[i]), int(day.output[i]), text, bank.place(text, i)))
    following = 0
    while engine.now < day.end:
        while following < len(requests) and requests[following].arrived <= engine.now:
            engine.submit(requests[following])
            following += 1
        if engine.busy:
            engine.step(lambda _: k, record=False)
        elif following < len(requests):
            engine.idle_until(requests[following].arrived)
        else:
            break
    first = np.array([np.nan if r.first_token is None else r.first_token for r in requests])
    finished = np.array([np.nan if r.finished is None else r.finished for r in requests])
    return _served(day, first, finished)


def macrowise(given: FleetScenario, day: Day, k: int) -> Served:
    """The same in macro steps."""
    serving = Serving(given.spec.engine, day, 7, slots=1)
    replica = serving.start(0, Fixed(k), 0.0)
    for tick in range(round(day.end / MACRO_SECONDS)):
        start = tick * MACRO_SECONDS
        first, last = np.searchsorted(day.at, [start, start + MACRO_SECONDS])
        replica.waiting.extend(range(first, last))
        serving.tick(start, start + MACRO_SECONDS)
    return _served(day, serving.first_token, serving.finished)


def _served(day: Day, first: np.ndarray, finished: np.ndarray) -> Served:
    done = finished <= day.end
    several = done & (day.output > 1)
    per_token = (finished - first)[several] / (day.output[several] - 1)
    return Served(
        float(day.output[done].sum() / day.end),
        float(per_token.mean()),
        float((first - day.at)[done].mean()),
        float((finished - day.at)[done].mean()),
    )


def day_of(given: FleetScenario, seed: int = 1) -> Day:
    """Its requests."""
    return draw(given, seed)
