"""Another kind of hardware's profile in an engine: the real loop says so, and chooses well all the same."""

import pytest

from tests.control.simulated_engine import SimulatedEngine, StepTime, processor, profile, roofline, steady
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings

LADDER = (0, 1, 3, 7)
LIMIT_STEPS = 200


def twice(batch: int, k: int, context: float) -> float:
    """Half of the hardware: everything takes about twice as long."""
    return 2.0 * roofline(batch, k, context) + 0.0005 * k


def started(truth: StepTime) -> EngineLoop:
    loop = EngineLoop(LoopLimits(64, max(LADDER), LADDER), (3,) * 65)
    loop.configure(LoopSettings("local", LADDER, None, profile(truth, LADDER)))
    return loop


@pytest.mark.parametrize("clients", [1, 8, 40])
@pytest.mark.parametrize(("own", "other"), [(roofline, twice), (twice, roofline)], ids=["too slow", "too fast"])
def test_a_swapped_profile_is_flagged_within_two_hundred_steps(own: StepTime, other: StepTime, clients: int) -> None:
    """And no longer once the right one is there; every look at the way there is counted in steps."""
    engine, loop = SimulatedEngine(own, clients, steady(0.7), max(LADDER)), started(own)
    engine.run(loop, 20)
    assert not loop.off_profile()
    loop.configure(LoopSettings("local", LADDER, None, profile(other, LADDER)))
    before = engine.seq
    while not loop.off_profile() and engine.seq - before < LIMIT_STEPS:
        engine.run(loop, 1e-9)
    assert loop.off_profile()
    wrong = [region for region in loop.regions() if region.off]
    assert wrong
    assert all((region.ratio > 1.0) == (own is twice) for region in wrong)
    loop.configure(LoopSettings("local", LADDER, None, profile(own, LADDER)))
    engine.run(loop, 20)
    assert not loop.off_profile()


@pytest.mark.parametrize("truth", [roofline, processor], ids=lambda truth: truth.__name__)
def test_its_own_profile_is_never_flagged(truth: StepTime) -> None:
    """Loads come and go, 3% noise, one step in a thousand five times as long. (The benchmark takes a million steps.)"""
    engine, loop = SimulatedEngine(truth, 1, steady(0.6), max(LADDER)), started(truth)
    for clients in (1, 4, 16, 2, 33):
        engine.clients = clients
        for _ in range(30):
            engine.run(loop, 1)
            assert not loop.off_profile()


def test_without_a_profile_there_is_nothing_to_be_off() -> None:
    """Step times are learnt, and the form they started from is no promise."""
    engine = SimulatedEngine(roofline, 8, steady(0.7), max(LADDER))
    loop = EngineLoop(LoopLimits(64, max(LADDER), LADDER), (3,) * 65)
    loop.configure(LoopSettings("local", LADDER, None, None))
    engine.run(loop, 30)
    assert not loop.off_profile()
    assert loop.regions() == ()
