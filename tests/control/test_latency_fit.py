"""The constrained fit of step times."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.control.latency import FitCoefficients, ImpossibleFitError, StepSample, fit_latency, hold_out_error
from turbospec.control.latency_fit import non_negative_least_squares

H100 = FitCoefficients(5.9e-3, 2.1e-5, 3.9e-8, 1.2e-3, 2.1e-3, 8.4e-7)


def sample(decodes: float, k: int, context: int = 300, prefill: int = 0, seconds: float | None = None) -> StepSample:
    made = StepSample(decodes, k, decodes * k, prefill, decodes * context, seconds or 1.0)
    return made if seconds else StepSample(decodes, k, decodes * k, prefill, decodes * context, H100.seconds(made))


def grid(contexts: tuple[int, ...] = (128, 1024)) -> list[StepSample]:
    return [sample(b, k, c) for b in (1, 4, 16, 64) for k in (0, 1, 3, 7) for c in contexts]


def test_exact_data_gives_back_the_coefficients() -> None:
    """Where the data follow the form, the fit finds the form."""
    fit = fit_latency(grid())
    for name in FitCoefficients.__dataclass_fields__:
        assert getattr(fit, name) == pytest.approx(getattr(H100, name), rel=1e-3), name


def test_hold_out_error_is_zero_for_data_of_the_form_and_not_for_other_data() -> None:
    """The error is measured on cells the fit has not seen."""
    assert hold_out_error(grid()) < 1e-4
    crooked = [sample(s.decodes, s.draft_tokens, seconds=s.seconds * (1.5 if s.decodes == 16 else 1.0)) for s in grid()]
    assert 0.02 < hold_out_error(crooked) < 0.6


@pytest.mark.parametrize("factor", [1e-3, 0.05, 20.0, 1e3])
def test_one_wrong_measurement_does_not_bend_the_fit(factor: float) -> None:
    """A single sample off by any factor, long or short, moves the other predictions by a few percent at most."""
    samples = grid()
    wrong = samples[5]
    samples[5] = sample(wrong.decodes, wrong.draft_tokens, 1024, seconds=wrong.seconds * factor)
    fit = fit_latency(samples)
    for other in grid():
        assert fit.seconds(other) == pytest.approx(other.seconds, rel=0.1)


def test_columns_that_cannot_be_told_apart_still_give_a_usable_fit() -> None:
    """One context, K of only 0 and 3: several columns are collinear, predictions inside the data hold."""
    samples = [sample(b, k) for b in (1, 8, 32) for k in (0, 3)]
    fit = fit_latency(samples)
    for s in samples:
        assert fit.seconds(s) == pytest.approx(s.seconds, rel=0.01)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "three different"),
        ([sample(1, 0)] * 10, "three different"),
        ([*grid(), sample(4, 1, seconds=math.nan)], "not a positive time"),
        ([*grid(), sample(4, 1, seconds=-1.0)], "not a positive time"),
        ([*grid(), StepSample(-1, 0, 0, 0, 0, 0.01)], "negative"),
        ([*grid(), StepSample(1, 0, 0, 0, 0, 0.01, weight=0.0)], "weight"),
        ([sample(b, 0, seconds=1.0 if b % 2 else 1e-4) for b in range(1, 20)], "do not follow the work"),
    ],
)
def test_impossible_data_are_refused_with_a_reason(samples: list[StepSample], reason: str) -> None:
    """Refusals are typed and say why in one line."""
    with pytest.raises(ImpossibleFitError, match=reason) as refusal:
        fit_latency(samples)
    assert "\n" not in str(refusal.value)


@given(
    st.lists(
        st.tuples(st.integers(1, 256), st.integers(0, 8), st.integers(0, 4096), st.floats(1e-4, 10.0)),
        min_size=3,
        max_size=30,
    )
)
def test_any_positive_times_give_non_negative_finite_costs_or_a_refusal(
    rows: list[tuple[int, int, int, float]],
) -> None:
    """No data make a negative, infinite or NaN cost."""
    try:
        fit = fit_latency([sample(b, k, c, seconds=t) for b, k, c, t in rows])
    except ImpossibleFitError:
        return
    for name in FitCoefficients.__dataclass_fields__:
        value = getattr(fit, name)
        assert math.isfinite(value)
        assert value >= 0


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(6, 30))
def test_non_negative_least_squares_meets_its_optimality_conditions(seed: int, columns: int, rows: int) -> None:
    """Karush-Kuhn-Tucker: x >= 0, no descent direction into the allowed region, and none along free columns."""
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(rows, columns)), rng.normal(size=rows)
    solution = non_negative_least_squares(matrix, target)
    gradient = matrix.T @ (matrix @ solution - target)
    assert (solution >= 0).all()
    assert (gradient >= -1e-5).all()
    assert np.abs(gradient * (solution > 0)).max() < 1e-5
