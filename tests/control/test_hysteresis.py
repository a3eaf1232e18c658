"""How much better another K has to look before the table changes to it."""

import numpy as np
import pytest

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.draft_length import DraftTable, Reason
from turbospec.control.goodput import expected_tokens
from turbospec.control.latency import FitCoefficients, LatencyGrid, LatencyModel
from turbospec.control.loop_settings import LoopLimits, LoopSettings
from turbospec.control.plan import Plan, Planner, Situation

BATCH = 8
ALLOWED = (0, 1)
FIT = FitCoefficients(
    per_step=0.006,
    per_batched_token=4e-5,
    per_kv_token=0.0,
    per_drafting_step=0.0,
    per_draft_pass=0.002,
    per_draft_token=0.0,
)


def k_decided(lead: float, *, looked_at: bool, acceptance_spread: float = 0.0) -> int:
    """K where 0 is in force and 1 is predicted to deliver ``lead`` times as much more."""
    model = LatencyModel((), FIT)
    slower = model.step_seconds(decodes=BATCH, draft_tokens=1, kv_tokens=0.0) / model.step_seconds(
        decodes=BATCH, draft_tokens=0, kv_tokens=0.0
    )
    estimates = (PositionEstimate(slower * (1.0 + lead) - 1.0, 1.0, 1e4, acceptance_spread),)
    assert expected_tokens(estimates, 1) == pytest.approx(slower * (1.0 + lead))
    bias = LatencyBias(ALLOWED)
    if looked_at:
        seconds = LatencyGrid(model, np.array([float(BATCH)])).components(ALLOWED, (0.0, 1.0), 0.0)[:, :, 0]
        for _ in range(100):
            for i, k in enumerate(ALLOWED):
                bias.observe(k, BATCH, (seconds[:, i] / seconds[:, i].sum()).tolist(), [1.0] * 10)
    limits = LoopLimits(16, 1, ALLOWED)
    planner = Planner(limits, LoopSettings("local", ALLOWED, None, model), model, bias)
    before = Plan(DraftTable((0,) * 17), Reason.HIGHEST_GOODPUT, None, ALLOWED)
    return planner.plan(estimates, Situation(0.0), before, (0,) * 17, (BATCH, BATCH)).table.at(BATCH)


@pytest.mark.parametrize(
    ("lead", "looked_at", "spread", "expected"),
    [
        (0.015, True, 0.0, 1),
        (0.015, False, 0.0, 0),
        (0.015, True, 0.2, 0),
        (0.001, True, 0.0, 0),
        (0.05, False, 1.0, 1),
    ],
    ids=[
        "known well, a small lead is enough",
        "step times never compared here, it is not",
        "acceptance uncertain, it is not",
        "next to no lead is never enough",
        "a clear lead is never left lying",
    ],
)
def test_the_lead_asked_for_is_what_is_not_known(lead: float, looked_at: bool, spread: float, expected: int) -> None:
    """Another K must lead by what is uncertain of the two, in text and in step time, within bounds."""
    assert k_decided(lead, looked_at=looked_at, acceptance_spread=spread) == expected


def k_left_for(lead: float, *, samples: float, shorter: bool) -> int:
    """K where one of 0 and 1 is in force and the other is predicted to deliver ``lead`` more, by so many drafts."""
    model = LatencyModel((), FIT)
    slower = model.step_seconds(decodes=BATCH, draft_tokens=1, kv_tokens=0.0) / model.step_seconds(
        decodes=BATCH, draft_tokens=0, kv_tokens=0.0
    )
    tokens = slower / (1.0 + lead) if shorter else slower * (1.0 + lead)
    chance = tokens - 1.0
    spread = (samples * chance * (1.0 - chance)) ** -0.5
    planner = Planner(
        LoopLimits(16, 1, ALLOWED), LoopSettings("local", ALLOWED, None, model), model, LatencyBias(ALLOWED)
    )
    before = Plan(DraftTable((int(shorter),) * 17), Reason.HIGHEST_GOODPUT, None, ALLOWED)
    estimates = (PositionEstimate(chance, 1.0, samples, spread),)
    return planner.plan(estimates, Situation(0.0), before, (0,) * 17, (BATCH, BATCH)).table.at(BATCH)


@pytest.mark.parametrize(
    ("lead", "samples", "shorter", "expected"),
    [
        (0.06, 40.0, True, 1),
        (0.06, 2000.0, True, 0),
        (0.2, 40.0, True, 0),
        (0.06, 40.0, False, 1),
    ],
    ids=[
        "few drafts: it waits for more",
        "many drafts: it is left",
        "few drafts that say enough: it is left",
        "a longer one is not waited with: its drafts come of nothing else",
    ],
)
def test_a_shorter_k_waits_for_what_a_second_tells(lead: float, samples: float, shorter: bool, expected: int) -> None:
    """What speaks for a shorter K comes with every step of the present one; for a longer one only with its own."""
    assert k_left_for(lead, samples=samples, shorter=shorter) == expected
