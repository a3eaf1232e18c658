"""The loop on a simulated engine whose truth it does not know: K follows text and load at little cost."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.control.simulated_engine import (
    Moment,
    SimulatedEngine,
    StepTime,
    Text,
    best_fixed,
    mean_draft_tokens,
    padded,
    processor,
    profile,
    rate,
    roofline,
    steady,
)
from turbospec.control.acceptance import Prior
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings

LADDER = (0, 1, 3, 7)
ENGINES = pytest.mark.parametrize("truth", [roofline, padded, processor], ids=lambda truth: truth.__name__)


def started(
    truth: StepTime, prior: tuple[Prior, ...] = (), startup: int = 3, ladder: Sequence[int] = LADDER
) -> EngineLoop:
    loop = EngineLoop(LoopLimits(64, max(ladder), tuple(ladder)), (startup,) * 65)
    loop.configure(LoopSettings("local", tuple(ladder), None, profile(truth, ladder), prior))
    return loop


def engine(truth: StepTime, clients: int, acceptance: float, **changes: object) -> SimulatedEngine:
    return SimulatedEngine(truth, clients, steady(acceptance), max(LADDER), **changes)  # type: ignore[arg-type]


def seconds_until(moments: Sequence[Moment], wanted: set[int], run: int = 5) -> float:
    """Seconds from the start of these moments until K has been one of ``wanted`` for ``run`` steps; inf if never."""
    for i in range(len(moments) - run):
        if all(moment.draft_tokens in wanted for moment in moments[i : i + run]):
            return moments[i].seconds - moments[0].seconds
    return float("inf")


@ENGINES
def test_k_is_high_for_predictable_text_at_low_load(truth: StepTime) -> None:
    """One client, acceptance 0.9."""
    sim, loop = engine(truth, 1, 0.9), started(truth)
    sim.run(loop, 6)
    assert mean_draft_tokens(sim.run(loop, 10)) > 5


@pytest.mark.parametrize("clients", [1, 8])
def test_k_falls_when_acceptance_falls(clients: int) -> None:
    """From 0.9 to 0.2, within five seconds."""
    sim, loop = engine(roofline, clients, 0.9), started(roofline)
    sim.run(loop, 20)
    before = mean_draft_tokens(sim.run(loop, 5))
    sim.text = steady(0.2)
    moments = sim.run(loop, 15)
    assert before > 0.9
    # At batch 1 this engine drafts almost for nothing: K = 3 is within the margin of K = 1.
    assert seconds_until(moments, {0, 1, 3} if clients == 1 else {0, 1}) < 5
    assert mean_draft_tokens(moments[len(moments) // 2 :]) < 0.6 * before


def test_k_falls_when_load_passes_the_crossover() -> None:
    """Acceptance 0.5: drafts pay for 1 client, not for 32."""
    sim, loop = engine(roofline, 1, 0.5), started(roofline)
    sim.run(loop, 10)
    assert mean_draft_tokens(sim.run(loop, 5)) > 1.5
    sim.clients = 32
    assert seconds_until(sim.run(loop, 10), {0}) < 3


@pytest.mark.parametrize(
    ("truth", "clients"), [(padded, 1), (padded, 16), (roofline, 16), (processor, 1), (processor, 4), (processor, 16)]
)
def test_k_comes_back_when_acceptance_returns(truth: StepTime, clients: int) -> None:
    """From 0.05 for half a minute, where K is 0, to 0.9: found within six seconds at steps of 8 to 80 ms."""
    sim, loop = engine(truth, clients, 0.05), started(truth)
    sim.run(loop, 30)
    assert mean_draft_tokens(sim.run(loop, 5)) < 0.3
    sim.text = steady(0.9)
    assert seconds_until(sim.run(loop, 15), {1, 3, 7}) < 6


def test_k_comes_back_when_the_drafter_finds_drafts_again() -> None:
    """A yield of zero leaves acceptance unknown; probing finds the drafts when there are some."""
    nothing = Text((0.9,) * 16, (0.0,) * 16)
    sim, loop = SimulatedEngine(roofline, 4, nothing, 7), started(roofline)
    sim.run(loop, 20)
    assert mean_draft_tokens(sim.run(loop, 5)) < 0.5
    sim.text = steady(0.9)
    assert seconds_until(sim.run(loop, 15), {3, 7}) < 8


def test_a_longer_draft_is_found_when_only_deep_positions_improve() -> None:
    """At K = 1 nothing is seen of position 2; deep probes find out in time."""
    sim, loop = SimulatedEngine(padded, 8, Text((0.8, *(0.05,) * 15)), 7), started(padded)
    sim.run(loop, 60)
    assert mean_draft_tokens(sim.run(loop, 5)) < 1.5
    sim.text = steady(0.8)
    assert seconds_until(sim.run(loop, 90), {3, 7}, run=40) < 80


def test_a_wrong_prior_recovers() -> None:
    """0.9 claimed with all certainty, 0.2 true."""
    sim, loop = engine(roofline, 8, 0.2), started(roofline, prior=(Prior(0.9, 1e6),) * 7)
    moments = sim.run(loop, 10)
    assert moments[0].draft_tokens > 1
    assert seconds_until(moments, {0, 1}) < 3


def test_a_profile_that_is_wrong_for_one_draft_length_is_corrected() -> None:
    """K = 3 and 7 really take 1.6 times what was profiled: tried after K = 1, they are found out."""
    sim = engine(roofline, 4, 0.6, slowdown=lambda k: 1.6 if k >= 3 else 1.0)
    loop = started(roofline, startup=1)
    sim.run(loop, 20)
    assert mean_draft_tokens(sim.run(loop, 20)) < 1.5


def test_a_machine_that_is_slower_throughout_does_not_change_the_choice() -> None:
    """A uniform factor never moves the best K."""
    normal, slow = engine(roofline, 8, 0.7), engine(roofline, 8, 0.7, slowdown=lambda _: 1.5)
    loops = started(roofline), started(roofline)
    normal.run(loops[0], 15)
    slow.run(loops[1], 15)
    assert loops[0].table()[8] == loops[1].table()[8]


@pytest.mark.parametrize("acceptance", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("clients", [1, 8, 32])
@ENGINES
def test_steady_load_runs_near_the_best_fixed_draft_length(truth: StepTime, clients: int, acceptance: float) -> None:
    """At least 0.95 of the best K known afterwards, probing and noise included, and hardly any change of the table."""
    sim, loop = engine(truth, clients, acceptance), started(truth)
    sim.run(loop, 8)
    start = len(sim.history)
    reached = rate(sim, sim.run(loop, 25))
    _, best = best_fixed(engine(truth, clients, acceptance), LADDER, 25)
    assert reached > 0.95 * best
    settled = [moment.draft_tokens for moment in sim.history[start:] if moment.batch == clients]
    switches = sum(a != b for a, b in pairwise(settled))
    assert switches - 2 * loop.probe_report().bursts <= 4


@pytest.mark.parametrize("lag", [1, 2])
def test_a_longer_pipeline_changes_nothing(lag: int) -> None:
    """Asynchronous scheduling verifies two steps behind."""
    sim, loop = engine(padded, 8, 0.9, lag=lag), started(padded)
    sim.run(loop, 10)
    assert mean_draft_tokens(sim.run(loop, 5)) > 5
    sim.text = steady(0.05)
    assert seconds_until(sim.run(loop, 10), {0}) < 4


def test_probing_costs_about_a_percent() -> None:
    """Ten minutes of unpredictable text: the account says at most 1% plus what was saved, and so does the clock."""
    sim, loop = engine(roofline, 16, 0.05), started(roofline, startup=0)
    moments = sim.run(loop, 600)
    report = loop.probe_report()
    assert report.bursts > 50
    assert report.spent_seconds < 0.01 * report.elapsed_seconds + 0.6
    plain = replace(sim, history=[], now=0.0, seq=0)
    assert rate(sim, moments) > 0.98 * rate(plain, plain.run(lambda _: 0, 600))


def test_the_same_seed_gives_the_same_run() -> None:
    """Decisions depend on what is observed, not on the clock."""
    runs = []
    for _ in range(2):
        sim, loop = engine(roofline, 4, 0.6), started(roofline)
        runs.append([moment.draft_tokens for moment in sim.run(loop, 10)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("acceptance", [0.05, 0.9])
def test_steady_on_noisy_shared_cores(acceptance: float) -> None:
    """15% of noise and steps of 30 to 200 ms, as two engines on two cores have: still near the best fixed K."""
    sim, loop = engine(processor, 4, acceptance, noise=0.15), started(processor)
    sim.run(loop, 15)
    reached = rate(sim, sim.run(loop, 120))
    _, best = best_fixed(engine(processor, 4, acceptance, noise=0.15), LADDER, 120)
    assert reached > 0.95 * best


def test_a_burst_of_slow_steps_does_not_ban_a_draft_length_for_long() -> None:
    """Three seconds in which the machine is busy elsewhere, only while K = 7 runs: back at it within ten seconds."""
    factor = {7: 1.0}
    sim = engine(processor, 1, 0.9, slowdown=lambda k: factor.get(k, 1.0))
    loop = started(processor)
    sim.run(loop, 20)
    assert mean_draft_tokens(sim.run(loop, 3)) > 6
    factor[7] = 2.5
    sim.run(loop, 3)
    factor[7] = 1.0
    assert seconds_until(sim.run(loop, 30), {7}, run=10) < 10


@pytest.mark.parametrize(("before", "after"), [((1, 0.9), (16, 0.05)), ((16, 0.05), (1, 0.9))])
def test_text_and_load_may_change_at_once(before: tuple[int, float], after: tuple[int, float]) -> None:
    """In both directions, on slow and noisy steps: within six seconds."""
    sim, loop = engine(processor, before[0], before[1], noise=0.1), started(processor)
    sim.run(loop, 40)
    sim.clients, sim.text = after[0], steady(after[1])
    assert seconds_until(sim.run(loop, 20), {0} if after[1] < 0.5 else {3, 7}) < 6


@pytest.mark.parametrize("ladder", [LADDER, tuple(range(8))])
@ENGINES
def test_an_engine_without_a_profile_finds_its_draft_length(truth: StepTime, ladder: tuple[int, ...]) -> None:
    """Within 2,000 steps, to 5%."""
    cold = EngineLoop(LoopLimits(64, 7, ladder), (3,) * 65)
    cold.configure(LoopSettings("local", ladder))
    sim = engine(truth, 8, 0.7)
    while sim.seq < 1500:
        sim.run(cold, 1)
    reached = rate(sim, sim.run(cold, 40))
    _, best = best_fixed(engine(truth, 8, 0.7), ladder, 40)
    assert reached > 0.95 * best


def test_drafts_that_have_become_dearer_are_found_out_and_so_is_the_return() -> None:
    """At K = 7 every step is slower: whether K = 0 is as well is found by looking."""
    dear = {"factor": 0.0}
    sim = engine(padded, 8, 0.75, slowdown=lambda k: 1.0 + dear["factor"] * k)
    loop = started(padded)
    sim.run(loop, 20)
    before = mean_draft_tokens(sim.run(loop, 5))
    dear["factor"] = 0.25
    assert seconds_until(sim.run(loop, 20), {0, 1}, run=20) < 10
    dear["factor"] = 0.0
    sim.run(loop, 60)
    assert mean_draft_tokens(sim.run(loop, 5)) == pytest.approx(before, abs=1.0)
