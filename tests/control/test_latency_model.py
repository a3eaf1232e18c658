"""Measured cells first, a fit where there are none."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.simulated_engine import padded, processor, roofline
from turbospec.control.latency import InvalidProfileError, LatencyModel, MeasuredCell, build_latency_model


def cells(context: int = 512, draft_tokens: tuple[int, ...] = (0, 1, 3, 7)) -> list[MeasuredCell]:
    return [
        MeasuredCell(b, context, k, 0, roofline(b, k, context), 10)
        for b in (1, 2, 4, 8, 16, 32, 64)
        for k in draft_tokens
    ]


def seconds(model: LatencyModel, batch: int, k: int, context: int = 512) -> float:
    return model.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=batch * context)


def test_cells_are_met_closely_at_their_points() -> None:
    """What was measured wins over what was fitted, as far as so few samples can be told from noise."""
    model = build_latency_model(cells())
    for cell in cells():
        assert seconds(model, cell.batch, cell.draft_tokens) == pytest.approx(cell.seconds, rel=0.01)


def linear(batch: int, k: int, context: int) -> float:
    return 0.006 + 2e-5 * batch * (k + 1) + 4e-8 * batch * context + 0.002 * k


SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def staircase(batch: int, k: int, context: int, prefill: int = 0) -> float:
    """Padded to the next graph size; 40% slower above the last."""
    tokens = batch * (k + 1) + prefill
    eager = tokens > SIZES[-1]
    computed = tokens if eager else next(size for size in SIZES if size >= tokens)
    return (0.006 + 2e-5 * computed + 4e-8 * batch * context + 0.001 * k) * (1.4 if eager else 1.0)


def test_graph_sizes_make_steps_and_a_cliff() -> None:
    """Between measured batches the padded size counts, and the cliff is where the last graph ends."""
    measured = [
        MeasuredCell(b, c, k, 0, staircase(b, k, c), 10)
        for b in (1, 2, 4, 8, 16, 32, 33, 64, 65, 128, 129, 256)
        for c in (128, 1024)
        for k in (0, 1, 3, 7)
    ]
    model = replace(build_latency_model(measured), graph_sizes=SIZES)
    for batch in (5, 20, 31, 40, 63, 90, 140, 200):
        for k in (0, 1, 3, 7):
            assert seconds(model, batch, k) == pytest.approx(staircase(batch, k, 512), rel=0.02), (batch, k)
    pushed_out = model.step_seconds(decodes=60, draft_tokens=3, kv_tokens=60 * 512, prefill_tokens=64)
    assert pushed_out == pytest.approx(staircase(60, 3, 512, 64), rel=0.05)


def test_between_cells_the_prediction_stays_close_to_an_engine_of_another_form() -> None:
    """Interpolation tracks step times that the fit's form cannot express."""
    model = build_latency_model(cells())
    for batch in (3, 6, 12, 24, 48):
        for k in (1, 3, 7):
            assert seconds(model, batch, k) == pytest.approx(roofline(batch, k, 512), rel=0.12)


def test_a_draft_length_between_measured_ones_is_interpolated() -> None:
    """K = 5 was not measured; it lies between 3 and 7."""
    model = build_latency_model(cells())
    assert seconds(model, 8, 3) < seconds(model, 8, 5) < seconds(model, 8, 7)
    assert seconds(model, 8, 5) == pytest.approx(roofline(8, 5, 512), rel=0.08)


def test_beyond_the_grid_the_fit_extrapolates() -> None:
    """Step times go on growing with the batch past the last cell."""
    model = build_latency_model(cells())
    assert seconds(model, 256, 3) > 2.5 * seconds(model, 64, 3)


def test_context_counts_through_the_fit() -> None:
    """Two contexts teach the cost of a KV token, which holds at others."""
    truth = [
        MeasuredCell(b, c, k, 0, 0.01 + 1e-5 * b * (k + 1) + 1e-7 * b * c, 5)
        for b in (1, 8, 64)
        for c in (100, 1000)
        for k in (0, 3)
    ]
    model = build_latency_model(truth)
    assert seconds(model, 64, 3, context=4000) == pytest.approx(0.01 + 64 * 4e-5 + 1e-7 * 64 * 4000, rel=0.03)


def test_drafts_that_are_not_found_are_not_paid_for() -> None:
    """Asked for 7, finding 1 token per request, costs what K = 1 costs; finding none is not free."""
    model = build_latency_model(cells())
    little = model.step_seconds(decodes=32, draft_tokens=7, kv_tokens=0, drafted_per_request=1.0)
    assert little == pytest.approx(model.step_seconds(decodes=32, draft_tokens=1, kv_tokens=0))
    nothing = model.step_seconds(decodes=32, draft_tokens=7, kv_tokens=0, drafted_per_request=0.0)
    assert model.step_seconds(decodes=32, draft_tokens=0, kv_tokens=0) <= nothing < little


def test_prefill_adds_its_tokens() -> None:
    """Prefill in the same step costs batched tokens."""
    model = build_latency_model(cells())
    plain = model.step_seconds(decodes=8, draft_tokens=1, kv_tokens=4096)
    mixed = model.step_seconds(decodes=8, draft_tokens=1, kv_tokens=4096, prefill_tokens=512)
    assert mixed == pytest.approx(plain + 512 * model.fit.per_batched_token)


def test_duplicates_are_merged_by_samples() -> None:
    """The same composition twice counts as one cell, weighted by its steps."""
    first = cells()
    again = MeasuredCell(1, 512, 0, 0, 2 * first[0].seconds, 30)
    model = build_latency_model([*first, again])
    merged = next(cell for cell in model.cells if (cell.batch, cell.draft_tokens) == (1, 0))
    assert merged.samples == 40
    assert merged.seconds == pytest.approx(1.75 * first[0].seconds)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([], "draftTokens 0"),
        ([c for c in cells() if c.draft_tokens > 0], "draftTokens 0"),
        ([c for c in cells() if c.draft_tokens == 0], "draftTokens above 0"),
        (cells()[:2], "no fit is possible"),
        ([*cells(), MeasuredCell(5, 512, 1, 0, math.nan, 1)], "batch 5.*must be positive"),
        ([*cells(), MeasuredCell(5, 512, 1, 0, 0.0, 1)], "batch 5.*must be positive"),
        ([*cells(), MeasuredCell(0, 512, 1, 0, 0.01, 1)], "batch 0.*correct or remove"),
        ([*cells(), MeasuredCell(5, -1, 1, 0, 0.01, 1)], "contextTokens -1"),
        ([*cells(), MeasuredCell(5, 512, 1, 0, 0.01, 0)], "samples"),
        (
            [*cells(), MeasuredCell(5, 512, 1, 0, 3.0, 1)],
            r"batch 5, contextTokens 512, draftTokens 1.*3e\+03 ms.*correct",
        ),
        ([*cells(), MeasuredCell(5, 512, 1, 0, 1e-5, 1)], "batch 5, contextTokens 512, draftTokens 1.*0.01 ms"),
    ],
)
def test_nonsense_is_refused_and_the_cell_named(broken: list[MeasuredCell], message: str) -> None:
    """A refusal says which cell, what is wrong and what to do, in one line."""
    with pytest.raises(InvalidProfileError, match=message) as refusal:
        build_latency_model(broken)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("truth", [roofline, padded, processor])
@given(
    decodes=st.integers(0, 4096),
    k=st.integers(0, 16),
    kv_tokens=st.integers(0, 10_000_000),
    prefill=st.integers(0, 10_000),
    share=st.floats(0, 1),
)
def test_predictions_are_positive_and_finite_everywhere(  # noqa: PLR0917  # hypothesis passes them by name
    truth: object, decodes: int, k: int, kv_tokens: int, prefill: int, share: float
) -> None:
    """Inside the grid, outside, and for steps without decodes."""
    assert callable(truth)
    model = build_latency_model(
        [MeasuredCell(b, 256, d, 0, truth(b, d, 256), 1) for b in (1, 8, 32, 64) for d in (0, 1, 3, 7)]
    )
    predicted = model.step_seconds(
        decodes=decodes, draft_tokens=k, kv_tokens=kv_tokens, prefill_tokens=prefill, drafted_per_request=share * k
    )
    assert math.isfinite(predicted)
    assert predicted > 0


def test_eager_cells_of_one_context_do_not_price_the_context() -> None:
    """Where KV memory holds large batches at one context only, longer contexts are priced as they are in graphs."""
    measured = [
        MeasuredCell(b, c, k, 0, staircase(b, k, c), 10)
        for b in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        for c in (128, 1024)
        for k in (0, 1, 3, 7)
        if c == 128 or b * (k + 1) <= SIZES[-1]
    ]
    model = replace(build_latency_model(measured), graph_sizes=SIZES)
    for k in (1, 3, 7):
        assert seconds(model, 200, k, 700) == pytest.approx(staircase(200, k, 700), rel=0.03)
