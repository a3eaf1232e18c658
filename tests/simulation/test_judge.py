"""What the benchmark of the engine loop concludes from the steps it has watched."""

import math

import pytest

from benchmarks.control.arms import Judged, Moment
from benchmarks.control.engines import ALL, LADDER, NAMES, engine
from benchmarks.control.line4 import moving_drifts
from turbospec.simulation.results import Run


def watched(regrets: list[float], seconds: float = 0.01) -> Judged:
    """A run with these losses, step by step."""
    moments = [Moment((i + 1) * seconds, seconds, 0, 1, regret, 1, None) for i, regret in enumerate(regrets)]
    return Judged(Run("turbospec", 0.0, 0, [], [], 0.0, 0, 0, 0), moments)


@pytest.mark.parametrize(
    ("regrets", "steps"),
    [
        ([0.0] * 300, 0),
        ([0.5] * 40 + [0.0] * 300, 34),
        ([0.5] * 400, math.inf),
        ([0.0] * 90 + [0.9] * 10 + [0.0] * 200, 97),
    ],
    ids=["never lost", "lost for 40 steps", "never found", "lost later"],
)
def test_recovered_is_where_the_next_steps_lose_little(regrets: list[float], steps: float) -> None:
    """At most 3% over the next 100 steps."""
    assert watched(regrets).recovered(0.0, 0.03) == steps


def test_recovery_is_counted_from_the_change() -> None:
    """What was lost before it does not matter."""
    run = watched([0.5] * 100 + [0.5] * 10 + [0.0] * 300)
    assert run.recovered(1.0, 0.03) == 4


@pytest.mark.parametrize(
    ("lost", "delay"), [(0.0, 0.0), (0.3, 0.28), (9.0, 5.0)], ids=["at once", "late", "not at all"]
)
def test_a_change_is_followed_when_a_second_passes_without_loss(lost: float, delay: float) -> None:
    """Steps of 10 ms that lose everything for a while, then nothing."""
    steps = [1.0 if i * 0.01 < lost else 0.0 for i in range(500)]
    assert watched(steps).delay(0.0, 5.0) == pytest.approx(delay, abs=0.011)


def test_loss_is_weighted_by_time() -> None:
    """Half of the time at 10%."""
    assert watched([0.1, 0.0, 0.1, 0.0]).lost() == pytest.approx(0.05)


def test_every_kind_of_engine_has_a_drift_that_matters() -> None:
    """Both sets of K; drafts and tokens that become dearer, graphs that get lost."""
    for allowed in (LADDER, ALL):
        kinds = {key for _, _, _, change in moving_drifts(allowed) for key in change}
        assert kinds == {"perTokenFactor", "draftFactor", "graphsLost"}
        assert all(engine(name, allowed).allowed == allowed for name in NAMES)
