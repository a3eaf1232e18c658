"""From a cold start to a profile: what the real loop has measured while serving is worth a profile of its own."""

import pytest

from tests.control.simulated_engine import SimulatedEngine, StepTime, padded, processor, roofline, steady
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.fleet.serving_profile import grow

LADDER = (0, 1, 3, 7)
CLIENTS = (1, 2, 4, 8, 16, 24)
TEXTS = (0.2, 0.6, 0.85)


@pytest.mark.parametrize("truth", [roofline, processor], ids=lambda truth: truth.__name__)
def test_a_cold_engine_measures_a_profile_that_chooses_as_the_truth_does(truth: StepTime) -> None:
    """On the loads and texts that it has served, at most 2% is lost on average."""
    engine = SimulatedEngine(truth, 1, steady(0.6), max(LADDER))
    loop = EngineLoop(LoopLimits(64, max(LADDER), LADDER), (3,) * 65)
    loop.configure(LoopSettings("local", LADDER, None, None))
    for acceptance in TEXTS:
        engine.text = steady(acceptance)
        for engine.clients in CLIENTS:
            engine.run(loop, 30)
    grown = grow([loop.cells()])
    assert grown is not None
    losses = []
    for batch in CLIENTS:
        context = 350.0
        seconds = {k: grown.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=batch * context) for k in LADDER}
        for acceptance in TEXTS:
            tokens = {k: sum(acceptance**j for j in range(k + 1)) for k in LADDER}
            true = {k: tokens[k] / truth(batch, k, context) for k in LADDER}
            chosen = max(LADDER, key=lambda k: tokens[k] / seconds[k])
            losses.append(1.0 - true[chosen] / max(true.values()))
    assert sum(losses) / len(losses) < 0.02


def test_the_smallest_k_is_looked_at_though_nothing_is_to_be_gained() -> None:
    """No profile can do without it; the engine's budget holds all the same."""
    engine = SimulatedEngine(padded, 4, steady(0.95), max(LADDER))
    loop = EngineLoop(LoopLimits(64, max(LADDER), LADDER), (7,) * 65)
    loop.configure(LoopSettings("local", LADDER, None, None))
    engine.run(loop, 400)
    known = [cell for cell in loop.cells() if cell.draft_tokens == 0 and cell.samples >= 12]
    assert known
    report = loop.probe_report()
    assert report.spent_seconds < 0.015 * report.elapsed_seconds


def test_what_was_measured_survives_a_restart() -> None:
    """It is saved with the rest of what the loop has learnt."""
    engine = SimulatedEngine(roofline, 8, steady(0.6), max(LADDER))
    loops = [EngineLoop(LoopLimits(64, max(LADDER), LADDER), (3,) * 65) for _ in range(2)]
    for loop in loops:
        loop.configure(LoopSettings("local", LADDER, None, None))
    engine.run(loops[0], 20)
    assert loops[0].cells()
    loops[1].restore(loops[0].save())
    assert loops[1].cells() == loops[0].cells()
