"""What leaving the captured graphs costs is learnt from steps with prefill, which alone can tell."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from tests.control.test_prefill_in_the_step import ALLOWED, BATCH, SIZES, model
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.draft_length import DraftTable, Reason
from turbospec.control.graph_exit import GraphExit
from turbospec.control.loop_settings import LoopLimits, LoopSettings
from turbospec.control.plan import Plan, Planner, Situation
from turbospec.control.step import StepRecord
from turbospec.control.step_times import learn_times

OWN, LEAVING = 0.3, 0.4


def feed(found: GraphExit, tokens: float, factor: float, steps: int, *, noise: float = 0.04) -> None:
    """Steps with prefill, every other of which leaves the graphs; prefill and leaving cost this much of what is
    predicted."""
    rng = random.Random(1)  # noqa: S311  # seeded, no secret
    leaving = [LEAVING * (i % 2) for i in range(steps)]
    added = [tokens * OWN + factor * cost + rng.gauss(0.0, noise) for cost in leaving]
    found.observe(np.full(steps, OWN), np.array(leaving), np.array(added))


@pytest.mark.parametrize("tokens", [1.0, 1.6, 0.7])
@pytest.mark.parametrize("factor", [0.0, 1.0, 1.5])
def test_the_cost_of_leaving_is_told_from_that_of_prefill(tokens: float, factor: float) -> None:
    """Prefill that is priced wrongly is not taken for it."""
    found = GraphExit()
    found.loosen()
    feed(found, tokens, factor, 60)
    assert found.factor == pytest.approx(factor, abs=0.12)
    assert found.spread < 0.05


def test_it_stays_as_profiled_where_no_step_leaves_the_graphs() -> None:
    """Nothing is concluded from steps that cannot tell."""
    found = GraphExit()
    found.observe(np.full(50, OWN), np.zeros(50), np.full(50, 2.0 * OWN))
    assert found.factor == pytest.approx(1.0)
    assert found.spread == pytest.approx(0.2)


def test_after_a_jump_it_is_believed_within_a_few_steps() -> None:
    """What was known for long before no longer counts; where it had got to is where it begins."""
    found = GraphExit()
    feed(found, 1.0, 1.3, 500)
    found.loosen()
    assert found.factor == pytest.approx(1.3, abs=0.05)
    assert found.spread > 0.5
    feed(found, 1.0, 0.0, 20)
    assert found.factor < 0.15


def test_steps_that_were_held_up_do_not_count() -> None:
    """A hiccup of several times the step says nothing of graphs."""
    found = GraphExit()
    found.observe(np.full(3, OWN), np.full(3, LEAVING), np.full(3, 8.0))
    assert found.factor == pytest.approx(1.0)


def planner() -> Planner:
    """Of the engine of the prefill tests: eager steps take twice as long."""
    latency = model()
    limits, settings = LoopLimits(64, 7, ALLOWED, graph_sizes=SIZES), LoopSettings("local", ALLOWED, None, latency)
    return Planner(limits, settings, latency, LatencyBias(ALLOWED))


def plan(made: Planner, previous: Plan) -> Plan:
    """Prompts come in more than half of the steps, and none fits into the last graph beside K = 7."""
    sizes = (300.0, 300.0, 300.0)
    situation = Situation(128.0, 300.0, sizes, prefill_ratio=0.6 * 300.0 / (BATCH * 4.0), prefill_share=0.6)
    estimates = tuple(PositionEstimate(0.85, 1.0, 1e5) for _ in range(7))
    return made.plan(estimates, situation, previous, (0,) * 65, (BATCH, BATCH))


def steps(made: Plan, prefill: Sequence[int], *, slower: float, k: int = 3) -> list[StepRecord]:
    """Steps at K that are this much slower than their decodes were predicted, and not dearer outside the graphs."""
    alone = float(made.predicted[ALLOWED.index(k), BATCH - 1]) if made.predicted is not None else 0.0
    return [
        StepRecord(
            seq=i, ended_seconds=0.0, interval_seconds=slower * (alone + 2e-5 * tokens), interval_draft_tokens=k,
            decided_draft_tokens=k, decodes=BATCH, prefill_tokens=tokens, kv_tokens=BATCH * 128, waiting=0,
            generated_tokens=BATCH * 3, verified_draft_tokens=BATCH * k, asked_draft_tokens=k,
            drafting_requests=BATCH, drafted_per_position=(BATCH,) * k, accepted_per_position=(BATCH,) * k,
        )
        for i, tokens in enumerate(prefill)
    ]  # fmt: skip


def test_lost_graphs_are_told_from_a_slower_machine() -> None:
    """All decode steps take 1.6 times as long either way; the longer drafts are best only where the cliff is gone."""
    made = planner()
    before = plan(made, Plan(DraftTable((0,) * 65), Reason.STARTUP_TABLE))
    assert before.table.at(BATCH) == 3
    for _ in range(4):
        learn_times(made, before, steps(before, [0] * 12, slower=1.6))
    slower = plan(made, before)
    assert slower.table.at(BATCH) == 3
    for _ in range(2):
        learn_times(made, slower, steps(slower, [0, 0, 0, 380, 450] * 8, slower=1.6))
    assert made.bias.graph_exit.factor < 0.2
    estimates = tuple(PositionEstimate(0.85, 1.0, 1e5) for _ in range(7))
    assert slower.outdated(estimates, made.bias, BATCH)
    assert plan(made, slower).table.at(BATCH) == 7


def test_in_a_round_with_a_jump_nothing_is_concluded() -> None:
    """Its steps are from before and after."""
    made = planner()
    before = plan(made, Plan(DraftTable((0,) * 65), Reason.STARTUP_TABLE))
    learn_times(made, before, steps(before, [0] * 12, slower=1.6))
    learn_times(made, before, steps(before, [0] * 12 + [450] * 12, slower=1.6))
    assert made.bias.jumps == 1
    assert made.bias.graph_exit.factor == 1.0
