"""How the steps of a visit are shared out among the K, on the simulated engine."""

from collections import Counter

import pytest

from tests.simulation.builders import engine_file
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import BLOCK_STEPS, LATE_STEPS, REFERENCE_BLOCKS, Block, block_steps, is_clean
from turbospec.simulation.measure import SimulatedMeter

KS = (0, 1, 3, 7)
PLAN = CellPlan(8, 136, 108)


@pytest.mark.parametrize("rounds", [1, 2])
def test_what_all_others_are_compared_with_is_measured_most(rounds: int) -> None:
    """Each round has five usable steps of every K, and three times as many of the smallest one."""
    seen = SimulatedMeter(engine_file(), 1).measure(PLAN, KS, rounds, slow=1e9, last=1e9)
    clean = Counter(k for record in seen for k in KS if is_clean(record, PLAN.batch, k))
    assert clean == {0: rounds * REFERENCE_BLOCKS * BLOCK_STEPS} | dict.fromkeys(KS[1:], rounds * BLOCK_STEPS)


def test_a_visit_that_has_taken_its_share_of_the_time_ends_soon() -> None:
    """Three usable steps of every K from then on, and of the smallest nine; no second round."""
    seen = SimulatedMeter(engine_file(), 1).measure(PLAN, KS, 2, slow=0.0, last=1e9)
    clean = Counter(k for record in seen for k in KS if is_clean(record, PLAN.batch, k))
    assert clean == {0: REFERENCE_BLOCKS * LATE_STEPS} | dict.fromkeys(KS[1:], LATE_STEPS)


def test_the_smallest_k_is_the_reference_whichever_it_is() -> None:
    """In whatever order the K come."""
    assert block_steps((7, 3, 1)) == [BLOCK_STEPS, BLOCK_STEPS, REFERENCE_BLOCKS * BLOCK_STEPS]


def test_a_drafter_that_finds_nothing_does_not_hold_a_block_for_ever() -> None:
    """Four times as many steps as are wanted, then the next K has its turn."""
    block = Block(batch=8, draft_tokens=3, wanted=5)
    block.decodes = 20
    assert not block.wants_more()
