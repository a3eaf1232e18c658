"""How an arm's target is found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.simulation.fleet.results import FleetRun
from turbospec.simulation.fleet.tuning import CLOSE, FARTHEST, tune

NONE = np.zeros(0)


def judged(target: float, limit: float) -> FleetRun:
    """A day whose misses pass 1% where the target passes ``limit``; higher targets take fewer replicas."""
    missed = round(10.0 * target / limit)
    return FleetRun(
        arm="off",
        seed=0,
        metric="runningRequests",
        target=target,
        seconds=1.0,
        requests=1000,
        completed=1000,
        missed=min(1000, missed),
        missed_tpot=missed,
        missed_ttft=0,
        goodput=1.0,
        replica_seconds=100.0 / target,
        scale_events=0,
        oscillations=0,
        mean_draft_tokens=0.0,
        preemptions=0,
        per_token=NONE,
        first_token=NONE,
        arrivals=NONE,
        misses=NONE,
    )


@given(st.floats(0.1, 10.0))
def test_the_highest_target_that_holds_is_found(limit: float) -> None:
    """From either side, to within what the autoscaler's tolerance makes of it."""
    found = tune(lambda target: judged(target, limit), 1.0)
    assert found.best is not None
    assert found.best.miss_share <= 0.01
    assert found.best.target == max(run.target for run in found.runs if run.miss_share <= 0.01)
    # Misses are whole requests: up to 10.5 of 1,000 round to 10.
    assert limit / CLOSE <= found.best.target <= 1.05 * limit


@given(st.floats(0.7, 1.4))
def test_a_good_guess_takes_few_runs(limit: float) -> None:
    """A day takes seconds to simulate, and tuning is most of a benchmark."""
    assert len(tune(lambda target: judged(target, limit), 1.0).runs) <= 8


@pytest.mark.parametrize("limit", [1e-9, 1e9])
def test_looking_ends_where_every_target_misses_or_none_does(limit: float) -> None:
    """A target that was tried, or none; never an endless search."""
    found = tune(lambda target: judged(target, limit), 1.0)
    assert len(found.runs) <= 8
    if limit < 1.0:
        assert found.target is None
        assert found.best is None
    else:
        assert found.target is not None
        assert 1.0 < found.target <= FARTHEST
