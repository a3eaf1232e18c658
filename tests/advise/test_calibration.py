"""Intervals against the truth on a few small fleets; `make bench-advise` judges sixty."""

import pytest

from benchmarks.advise.scraped import RecordedPrometheus, serve, speed
from tests.simulation.builders import engine_file, phase
from turbospec.advise.advice import Profiled, Verdict, advise_group
from turbospec.advise.queries import Span, groups
from turbospec.control.latency import LatencyModel, MeasuredCell, build_latency_model
from turbospec.simulation.files import WorkloadFile
from turbospec.simulation.run import ProfileSource
from turbospec.simulation.step_time import StepTime, Work

NOISE = {"relativeStandardDeviation": 0.03}
ENGINE = engine_file(noise=NOISE, drift=[{"at": 0, "draftFactor": 1.04, "perTokenFactor": 0.97}])
SECONDS, STEP = 20.0, 5


@pytest.fixture(scope="module")
def model() -> LatencyModel:
    """What a profile of the same engine said on another day: the truth knows nothing of it."""
    truth = StepTime(ENGINE)
    cells = [
        MeasuredCell(b, c, k, 0, truth.seconds(Work(b, k, float(b * k), k, b * c, 0)), 20)
        for b in (1, 4, 16, 32)
        for c in (100, 400)
        for k in (0, 1, 3, 7)
    ]
    return build_latency_model(cells)


@pytest.mark.parametrize(
    ("controller", "clients", "acceptance", "gains"),
    [
        ("static:7", 28, [0.3], True),
        ("static:1", 4, [0.9], False),
        ("static:3", 2, [0.8], False),
        ("static:3", 24, [0.6, 0.5, 0.4, 0.3], False),
    ],
    ids=["drafts where they cost", "could draft more", "about the best", "a little too long"],
)
def test_the_truth_lies_in_the_interval(
    model: LatencyModel, controller: str, clients: int, acceptance: list[float], gains: bool
) -> None:
    """And a gain is claimed where metrics can tell it, never where there is none."""
    load = WorkloadFile(
        phases=[
            phase(seconds=SECONDS / 2, clients=n, acceptance=acceptance, promptTokens=100, outputTokens=150)
            for n in (clients, max(1, clients // 2))
        ]
    )
    prometheus = RecordedPrometheus()
    labels = {"namespace": "n", "pod": "p", "model_name": "m"}
    ran = serve(ENGINE, load, controller, seed=3, warm_up=STEP, into=prometheus, labels=labels, interval=0.5)
    ours = serve(ENGINE, load, "turbospec", seed=3, warm_up=STEP, profile=ProfileSource(measured=False, model=model))
    (group,) = groups(prometheus, "", Span(2 * STEP, round(SECONDS), STEP))
    found = advise_group(group, Profiled(model, 0.01), (0, 1, 3, 7))
    truth = speed([ours]) / speed([ran]) - 1.0
    assert found.gain is not None
    assert found.gain.low <= truth <= found.gain.high
    assert (found.verdict is Verdict.GAIN) is gains
