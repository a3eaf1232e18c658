"""Expected tokens and goodput by draft length."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.simulated_engine import profile, roofline
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import drafted_per_request, expected_tokens, predict

MODEL = profile(roofline, (0, 1, 3, 7))
KS = (0, 1, 3, 7)
rates = st.floats(0, 1)


def known(acceptance: list[float], draft_yield: list[float] | None = None) -> list[PositionEstimate]:
    yields: list[float] | list[None] = draft_yield or [None] * len(acceptance)
    return [PositionEstimate(a, y, 10.0) for a, y in zip(acceptance, yields, strict=True)]


def goodput(acceptance: list[float], k: int, decodes: int, kv_tokens: float, prefill_tokens: int = 0) -> float:
    estimates = known(acceptance)
    (one,) = predict(MODEL, estimates, (k,), decodes=decodes, kv_tokens=kv_tokens, prefill_tokens=prefill_tokens)
    assert one.tokens_per_second is not None
    return one.tokens_per_second


@pytest.mark.parametrize(
    ("acceptance", "draft_yield", "k", "want"),
    [
        ([0.5] * 4, None, 0, 1.0),
        ([0.5] * 4, None, 1, 1.5),
        ([0.5] * 4, None, 4, (1 - 0.5**5) / (1 - 0.5)),
        ([0.8, 0.5, 0.0, 0.9], None, 4, 1 + 0.8 + 0.4),
        ([1.0] * 4, None, 4, 5.0),
        ([0.5, 0.5], [0.6, 0.3], 2, 1 + 0.6 * 0.5 + 0.3 * 0.25),
        ([0.5, 0.5], [0.0, 0.0], 2, 1.0),
    ],
)
def test_expected_tokens(acceptance: list[float], draft_yield: list[float] | None, k: int, want: float) -> None:
    """The paper's geometric sum where all positions are alike, its generalisation elsewhere."""
    assert expected_tokens(known(acceptance, draft_yield), k) == pytest.approx(want)


def test_unknown_acceptance_has_no_expected_tokens_but_at_zero() -> None:
    """Unknown is not guessed; K = 0 needs no acceptance."""
    unknown = [PositionEstimate(None, None, 0.0)] * 3
    assert expected_tokens(unknown, 0) == 1.0
    assert expected_tokens(unknown, 1) is None
    assert expected_tokens(known([0.5]), 2) is None


def test_a_drafter_that_finds_nothing_delivers_the_bonus_token_only() -> None:
    """Acceptance cannot be observed where no draft is found, and does not matter."""
    nothing = [PositionEstimate(None, 0.0, 0.0)] * 3
    assert expected_tokens(nothing, 3) == 1.0
    assert drafted_per_request(nothing, 3) == 0.0


def test_drafted_per_request_follows_the_yield() -> None:
    """An unknown yield counts as full drafts, the full cost."""
    assert drafted_per_request(known([0.5] * 3), 3) == 3.0
    assert drafted_per_request(known([0.5] * 3, [0.6, 0.5, 0.2]), 3) == pytest.approx(1.3)
    assert drafted_per_request(known([0.5]), 3) == 3.0


def test_every_allowed_draft_length_is_evaluated() -> None:
    """Goodput may rise again after a drop: nothing stops at the first one."""
    predictions = predict(MODEL, known([0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), KS, decodes=2, kv_tokens=500)
    assert [p.draft_tokens for p in predictions] == list(KS)
    assert all(p.tokens_per_second is not None for p in predictions)


def test_prefill_in_the_step_lowers_goodput() -> None:
    """The tokens of prefill chunks take time that delivers no decode token."""
    plain = goodput([0.7] * 7, 3, decodes=8, kv_tokens=2000)
    mixed = goodput([0.7] * 7, 3, decodes=8, kv_tokens=2000, prefill_tokens=512)
    assert mixed < plain


@given(st.lists(rates, min_size=7, max_size=7), st.integers(0, 7))
def test_expected_tokens_are_between_one_and_k_plus_one(acceptance: list[float], k: int) -> None:
    """At K = 0 exactly one token per request and step."""
    tokens = expected_tokens(known(acceptance), k)
    assert tokens is not None
    assert 1.0 <= tokens <= k + 1
    if k == 0:
        assert tokens == 1.0


@given(
    st.lists(rates, min_size=7, max_size=7),
    st.lists(rates, min_size=7, max_size=7),
    st.sampled_from(KS),
    st.integers(1, 64),
)
def test_more_acceptance_never_lowers_goodput(low: list[float], more: list[float], k: int, batch: int) -> None:
    """Raising acceptance anywhere raises expected tokens and leaves the step time alone."""
    high = [a + (1 - a) * extra for a, extra in zip(low, more, strict=True)]
    before = goodput(low, k, decodes=batch, kv_tokens=256 * batch)
    after = goodput(high, k, decodes=batch, kv_tokens=256 * batch)
    assert after >= before * (1 - 1e-12)


@given(
    st.lists(st.one_of(st.none(), rates), min_size=7, max_size=7),
    st.lists(st.one_of(st.none(), rates), min_size=7, max_size=7),
    st.integers(0, 300),
    st.integers(0, 1_000_000),
    st.integers(0, 8192),
)
def test_no_prediction_is_ever_nan(  # hypothesis passes them by position
    acceptance: list[float | None], yields: list[float | None], decodes: int, kv: int, prefill: int
) -> None:
    """Any mixture of known and unknown gives finite numbers or None."""
    estimates = [PositionEstimate(a, y, 1.0) for a, y in zip(acceptance, yields, strict=True)]
    for p in predict(MODEL, estimates, KS, decodes=decodes, kv_tokens=kv, prefill_tokens=prefill):
        assert math.isfinite(p.step_seconds)
        assert p.step_seconds > 0
        assert p.tokens_per_second is None or math.isfinite(p.tokens_per_second)
