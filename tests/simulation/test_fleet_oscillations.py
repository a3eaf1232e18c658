"""What counts as a K that was taken back."""

import pytest

from tests.simulation.fleet_builders import scenario
from turbospec.control.engine_loop import LoopSettings
from turbospec.control.objective import Objective
from turbospec.simulation.fleet.loops import OSCILLATION_SECONDS, LoopBrain
from turbospec.simulation.fleet.replica import Done, Load

SPEC = scenario().spec.engine
BATCH = 8


def pin(brain: LoopBrain, k: int) -> None:
    brain.loop.configure(LoopSettings("table", SPEC.allowed, (k,) * (SPEC.max_num_seqs + 1), None, (), Objective()))


def serve(brain: LoopBrain, until: float) -> None:
    """One macro step that ends then."""
    (k, *_) = brain.decide(Load(BATCH, 4000, 0, 1, until - 0.5))
    brain.learn(Done(until, (k,), BATCH, 4000, 0, 30, (0.015,), (), (0.7,) * 7, (1.0,) * 7))


@pytest.mark.parametrize(
    ("changes", "oscillations"),
    [
        ([], 0),
        ([(10.0, 1)], 0),
        ([(10.0, 1), (60.0, 3)], 1),
        ([(10.0, 1), (60.0, 3), (100.0, 1)], 2),
        ([(10.0, 1), (60.0, 7)], 0),
        ([(10.0, 1), (20.0 + OSCILLATION_SECONDS, 3)], 0),
    ],
    ids=["none", "there", "and back", "and there again", "and on", "and back later"],
)
def test_a_k_that_is_taken_back_within_two_minutes_counts(changes: list[tuple[float, int]], oscillations: int) -> None:
    """K = 3 is put in force before the first request: the start-up table was never, and leaving it is no change."""
    brain = LoopBrain(SPEC, 0, None, Objective())
    pin(brain, 3)
    serve(brain, 5.0)
    for at, k in changes:
        pin(brain, k)
        serve(brain, at)
    assert brain.oscillations == oscillations
    assert len(brain.switches) == len(changes)
