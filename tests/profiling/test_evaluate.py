"""From step records to a profile: the stated rules, on records made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.profiling.fake_engine import step_seconds
from turbospec.control.step import StepRecord
from turbospec.profiling.evaluate import TooFewSamplesError, evaluate, pseudo_median, without_outliers
from turbospec.profiling.grid import CellPlan

KS = (0, 1, 3)
PLANS = [CellPlan(batch, prompt, 64) for batch in (1, 4, 16) for prompt in (128, 512)]


def record(plan: CellPlan, k: int, *, drafted: int | None = None, grown: int = 0, factor: float = 1.0) -> StepRecord:
    """A pure decode step of the cell at K, ``grown`` tokens into it."""
    verified = plan.batch * k if drafted is None else drafted
    kv_tokens = plan.batch * (plan.prompt_tokens + grown)
    return StepRecord(
        seq=0, ended_seconds=0.0, interval_seconds=factor * step_seconds(plan.batch, verified, 0, kv_tokens, k),
        interval_draft_tokens=k, decided_draft_tokens=k, decodes=plan.batch, prefill_tokens=0, kv_tokens=kv_tokens,
        waiting=0, generated_tokens=plan.batch, verified_draft_tokens=verified, asked_draft_tokens=k,
        drafting_requests=plan.batch, drafted_per_position=(), accepted_per_position=(),
    )  # fmt: skip


def full(plans: list[CellPlan] = PLANS) -> dict[CellPlan, list[StepRecord]]:
    """Five steps of every K in every cell."""
    return {plan: [record(plan, k, grown=10 * i) for k in KS for i in range(5)] for plan in plans}


def test_cells_are_at_the_batch_and_mean_context_seen() -> None:
    """Contexts grow while K goes round: all K of a cell are put at the same, mean context."""
    profile = evaluate(full(), KS)
    assert {(c.batch, c.context_tokens) for c in profile.model.cells} == {
        (p.batch, p.prompt_tokens + 20) for p in PLANS
    }
    for cell in profile.model.cells:
        b, k = cell.batch, cell.draft_tokens
        assert cell.seconds == pytest.approx(step_seconds(b, b * k, 0, b * cell.context_tokens, k), rel=1e-3)
    assert profile.hold_out_error < 0.01


def test_partial_drafts_are_scaled_to_full_width() -> None:
    """Steps that verified 13 of 16 drafts tell, through the fit, what 16 would have cost."""
    records = full()
    plan = CellPlan(16, 128, 64)
    records[plan] = [record(plan, k, drafted=13 * k, grown=20) for k in KS for _ in range(5)]
    cell = next(
        c for c in evaluate(records, KS).model.cells if c.batch == 16 and c.draft_tokens == 3 and c.context_tokens < 200
    )
    assert cell.seconds == pytest.approx(step_seconds(16, 48, 0, 16 * cell.context_tokens, 3), rel=0.03)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"prefill_tokens": 64},
        {"decodes": 3},
        {"interval_seconds": None},
        {"decided_draft_tokens": 1},
        {"verified_draft_tokens": 2},
    ],
)
def test_steps_that_hold_something_else_do_not_count(spoilt: dict[str, int | None]) -> None:
    """Prefill, another batch, an unknown interval, an unsettled K, too few drafts: the cell has no step left."""
    records = full()
    plan = CellPlan(4, 512, 64)
    records[plan] = [replace(r, **spoilt) if r.interval_draft_tokens == 3 else r for r in records[plan]]  # type: ignore[arg-type]
    points = {(cell.batch, cell.context_tokens) for cell in evaluate(records, KS).model.cells}
    assert len(points) == len(PLANS) - 1
    assert all(batch != 4 or context < 200 for batch, context in points)


def test_one_wild_step_does_not_move_a_cell() -> None:
    """A hiccup of ten times the step time is left out; the samples say so."""
    records = full()
    plan = PLANS[0]
    records[plan] += [record(plan, 0, grown=20, factor=10.0)]
    cell = next(
        c for c in evaluate(records, KS).model.cells if (c.batch, c.draft_tokens) == (1, 0) and c.context_tokens < 200
    )
    assert cell.samples == 5


@pytest.mark.parametrize(("share", "width", "error"), [(0.8, 0.75, 0.03), (0.6, 0.5, 0.03), (0.3, 0.2, 0.05)])
def test_where_drafts_are_scarce_everywhere_shorter_ones_count(share: float, width: float, error: float) -> None:
    """Scaled by a fit of what steps verified, and said: cells are nearly those of full drafts."""
    records = {
        plan: [
            record(plan, k, drafted=round(plan.batch * k * each), grown=10 * i)
            for k in KS
            for i, each in enumerate((share, share, share, 0.0, share))
        ]
        for plan in [CellPlan(batch, prompt, 64) for batch in (8, 16, 32) for prompt in (128, 512)]
    }
    found = evaluate(records, KS)
    assert found.width == width
    for cell in found.model.cells:
        b, k = cell.batch, cell.draft_tokens
        truth = step_seconds(b, b * k, 0, b * cell.context_tokens, k)
        assert cell.seconds == pytest.approx(truth, rel=error)


def test_too_few_steps_are_an_error_with_a_reason() -> None:
    """Nothing at all, and less than three steps of one K everywhere."""
    with pytest.raises(TooFewSamplesError, match="no cell has 3 clean steps"):
        evaluate({}, KS)
    scarce = {plan: [r for r in seen if r.interval_draft_tokens != 3] for plan, seen in full().items()}
    with pytest.raises(TooFewSamplesError, match=r"each K of 0, 1, 3.*nearest: batch 1, prompt 128: .* 0/0 at K=3"):
        evaluate(scarce, KS)


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        ([1.0, 1.0, 1.0, 1.0], 4),
        ([1.0, 1.2, 0.8, 1.1, 0.9], 5),
        ([1.0, 1.0, 1.0, 1.6], 3),
        ([1.0, 1.0, 4.0, 5.0, 9.0, 2.0, 3.0, 1.1], 3),
        ([0.1, 1.0, 1.0, 1.0, 1.0], 5),
    ],
)
def test_outliers_are_only_long_and_only_far(seconds: list[float], kept: int) -> None:
    """Half again the lower quartile, also where most steps were held up; short steps always stay."""
    assert len(without_outliers(seconds)) == kept


def test_the_middle_of_steps_uses_all_of_them_and_follows_none() -> None:
    """Nearer to the truth than the median on quiet machines, and no further off than it where a quarter was held up."""
    rng = np.random.default_rng(1)
    quiet = 1.0 + 0.03 * rng.standard_normal((400, 11))
    assert np.std([pseudo_median(row.tolist()) for row in quiet]) < 0.9 * np.std(np.median(quiet, axis=1))
    busy = quiet * np.where(np.arange(11) < 3, 1.3, 1.0)
    assert np.mean([pseudo_median(row.tolist()) for row in busy]) < 1.06
    assert pseudo_median([2.0]) == 2.0
