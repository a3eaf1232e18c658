"""Latency ceilings."""

from dataclasses import replace

import numpy as np
import pytest

from tests.control.test_engine_loop import LOCAL, MODEL, composition, loop, record
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.draft_length import Bounding, DraftTable, Reason, choose
from turbospec.control.engine_loop import EngineLoop
from turbospec.control.objective import Objective, excess, slow_estimates


def settled(objective: Objective, batch: int = 8) -> EngineLoop:
    """A loop that has seen steps as its model predicts them, K = 3 with two of three drafts accepted."""
    made = loop(replace(LOCAL, objective=objective))
    seconds = MODEL.step_seconds(decodes=batch, draft_tokens=3, kv_tokens=256 * batch)
    for seq in range(300):
        made.draft_tokens(composition(batch))
        made.observe(record(seq, batch=batch, accepted=2, seconds=seconds))
    return made


def step_seconds(k: int, batch: int = 8) -> float:
    return MODEL.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=256 * batch)


@pytest.mark.parametrize("changes", [{"time_per_output_token_seconds": 0.0}, {"time_to_first_token_seconds": -1.0}])
def test_a_ceiling_is_a_positive_time(changes: dict[str, float]) -> None:
    """Refused with its name."""
    with pytest.raises(ValueError, match="objective time_"):
        Objective(**changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="percentile 100"):
        Objective(time_per_output_token_seconds=1.0, time_per_output_token_percentile=100)


def test_without_a_ceiling_nothing_is_bound() -> None:
    """The best K, whatever its latency."""
    made = settled(Objective())
    made.draft_tokens(composition(8))
    decision = made.decision()
    assert decision is not None
    assert decision.bounding in {Bounding.GOODPUT, Bounding.ALLOWED, Bounding.HYSTERESIS}


def test_slow_requests_count_not_the_mean() -> None:
    """The acceptance of the slowest tenth lies below the mean; unknown stays unknown."""
    known = (PositionEstimate(0.8, 1.0, 9.0), PositionEstimate(None, None, 0.0))
    slow = slow_estimates(known, 90)
    assert slow[0].acceptance == pytest.approx(0.8 - 0.128, abs=0.001)
    assert slow[1].acceptance is None
    assert slow_estimates(known, 50)[0].acceptance == pytest.approx(0.8)


def test_time_to_first_token_counts_the_step_under_way_and_those_that_wait() -> None:
    """Nine tenths of a step, its own, and one for each waiting request."""
    seconds = np.array([[0.01], [0.02]])
    found = excess(
        Objective(time_to_first_token_seconds=0.05), seconds, np.array([1.0, 2.0]), prefill_seconds=0.0, waiting=1.0
    )
    assert found[:, 0] == pytest.approx([2.9 * 0.01 / 0.05, 2.9 * 0.02 / 0.05])


def test_a_ceiling_that_no_draft_length_meets_is_said_to_be_unattainable() -> None:
    """And the K that delivers most is used, as without a ceiling."""
    made = settled(Objective(time_per_output_token_seconds=1e-4))
    k = made.draft_tokens(composition(8))
    decision = made.decision()
    assert decision is not None
    assert decision.reason is Reason.UNATTAINABLE
    assert decision.bounding is Bounding.OBJECTIVE
    assert k == settled(Objective()).draft_tokens(composition(8))


def test_a_ceiling_forbids_long_steps_that_would_deliver_more() -> None:
    """Time to first token: the K of highest goodput takes too long a step."""
    free = settled(Objective()).table()[8]
    assert free > 0
    ceiling = 1.9 * (step_seconds(0) + step_seconds(free)) / 2
    made = settled(Objective(time_to_first_token_seconds=ceiling))
    assert made.draft_tokens(composition(8)) < free
    decision = made.decision()
    assert decision is not None
    assert decision.bounding is Bounding.OBJECTIVE


def test_hysteresis_does_not_hold_a_forbidden_draft_length() -> None:
    """However near its goodput is."""
    goodput = np.array([[100.0], [101.0]])
    table = choose(goodput, (0, 1), DraftTable((1, 1)), 0.02, np.array([[0.5], [1.5]]))
    assert table.at(1) == 0
    assert table.limited == {1}
