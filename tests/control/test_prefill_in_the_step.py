"""Prefill in a step decides K only where it pushes the step out of the captured graphs."""

import pytest

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.draft_length import DraftTable, Reason
from turbospec.control.latency import FitCoefficients, LatencyModel, MeasuredCell
from turbospec.control.loop_settings import LoopLimits, LoopSettings
from turbospec.control.plan import Plan, Planner, Situation

ALLOWED = (3, 7)
BATCH = 32
SIZES = (64, 128, 256, 512)
FIT = FitCoefficients(
    per_step=0.005,
    per_batched_token=2e-5,
    per_kv_token=0.0,
    per_drafting_step=0.0,
    per_draft_pass=1e-4,
    per_draft_token=0.0,
)


def model() -> LatencyModel:
    """Steps padded to captured sizes, and twice as long above the last one; measured on both sides of it."""
    cells = []
    for batch in (1, 8, 16, 32, 64, 128):
        for k in (0, *ALLOWED):
            tokens = batch * (k + 1)
            padded = next((size for size in SIZES if size >= tokens), tokens)
            seconds = (0.005 + 2e-5 * padded) * (2.0 if tokens > SIZES[-1] else 1.0) + 1e-4 * k
            cells.append(MeasuredCell(batch, 128, k, 0, seconds, 100))
    return LatencyModel(tuple(cells), FIT, SIZES)


def k_decided(sizes: tuple[float, ...], share: float) -> int:
    """At 32 requests K = 7 fills 256 of the 512 tokens that the last graph holds, K = 3 only 128."""
    lump = sum(sizes) / len(sizes)
    situation = Situation(128.0, lump, sizes, prefill_ratio=share * lump / (BATCH * 4.0), prefill_share=share)
    estimates = tuple(PositionEstimate(0.85, 1.0, 1e5) for _ in range(7))
    latency = model()
    planner = Planner(
        LoopLimits(64, 7, ALLOWED, graph_sizes=SIZES), LoopSettings("local", ALLOWED, None, latency), latency,
        LatencyBias(ALLOWED),
    )  # fmt: skip
    before = Plan(DraftTable((0,) * 65), Reason.STARTUP_TABLE)
    return planner.plan(estimates, situation, before, (0,) * 65, (BATCH, BATCH)).table.at(BATCH)


@pytest.mark.parametrize(
    ("sizes", "share", "expected"),
    [
        ((200.0, 200.0, 200.0), 0.4, 7),
        ((100.0, 200.0, 300.0), 0.0, 7),
        ((60.0, 200.0, 340.0), 0.6, 3),
        ((300.0, 300.0, 300.0), 0.6, 3),
    ],
    ids=[
        "every prompt fits beside the longer drafts",
        "there is no prefill",
        "the mean prompt fits, a third of them do not",
        "no prompt fits beside the longer drafts",
    ],
)
def test_k_leaves_room_for_the_prompts_that_come(sizes: tuple[float, ...], share: float, expected: int) -> None:
    """The table is averaged over the sizes that prefill comes in, not made for their mean."""
    assert k_decided(sizes, share) == expected
