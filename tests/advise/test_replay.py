"""The recorded load with the best K, against what ran."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.advise.builders import ACCEPTANCE, OUTPUT, PROMPT, SECONDS, estimates, model, seconds, window
from turbospec.advise.drafting import drafting
from turbospec.advise.replay import OUTPUT_SHARE, Assumptions, Replay, delivered
from turbospec.advise.series import Window
from turbospec.control.goodput import predict

MODEL = model()
LADDER = (0, 1, 3, 7)


def replay(*windows: Window, allowed: tuple[int, ...] = LADDER) -> Replay:
    found = drafting(windows)
    assert found is not None
    return Replay(found.moments, MODEL, allowed, found.draft_tokens)


@pytest.mark.parametrize("batch", [1.0, 4.0, 16.0, 40.0])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_a_steady_load_gains_what_control_predicts(batch: float, k: int) -> None:
    """Of goodput at the best K over that at the K that ran, all positions known."""
    ran = window(batch, 7)
    context = PROMPT + OUTPUT_SHARE * OUTPUT
    text = estimates(ACCEPTANCE, 7)
    rates = {
        p.draft_tokens: p.tokens_per_second or 0.0
        for p in predict(MODEL, text, (*LADDER,), decodes=int(batch), kv_tokens=batch * context)
    }
    found = replay(ran, allowed=tuple({0, k})).evaluate(Assumptions())
    best = max((0, k), key=rates.__getitem__)
    assert found.same_requests == pytest.approx(rates[best] / rates[7], rel=3e-3)
    assert found.shares == {best: pytest.approx(1.0)}


loads = st.tuples(st.floats(1.0, 60.0), st.sampled_from([1, 3, 7]), st.floats(0.05, 0.95), st.floats(0.0, 30.0))


@settings(max_examples=40, deadline=None)
@given(st.lists(loads, min_size=1, max_size=4), st.floats(-0.1, 0.1), st.floats(-2.0, 2.0))
def test_the_best_of_all_is_no_slower_than_what_ran(
    rows: list[tuple[float, int, float, float]], error: float, sigmas: float
) -> None:
    """Under any assumptions, as long as the K that ran may be used."""
    windows = [
        replace(
            window(batch, k, acceptance=(acceptance,) * 7, at=n * SECONDS, positions=7), running_deviation=deviation
        )
        for n, (batch, k, acceptance, deviation) in enumerate(rows)
    ]
    found = replay(*windows).evaluate(Assumptions(step_time_error=error, acceptance_sigmas=sigmas))
    assert found.same_requests >= 1.0 - 1e-9
    assert found.same_arrivals >= 1.0 - 1e-9
    assert sum(found.shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_with_the_k_that_ran_alone_nothing_changes(k: int) -> None:
    """Neither where clients wait nor where they do not."""
    found = replay(window(12.0, k), allowed=(k,)).evaluate(Assumptions())
    assert found.same_requests == pytest.approx(1.0)
    assert found.same_arrivals == pytest.approx(1.0)


def test_requests_that_come_anyway_gain_more_than_clients_that_wait() -> None:
    """Faster ones are fewer at a time: here by Little's law with the step times of the builder."""
    batch = 40.0
    found = replay(window(batch, 7), allowed=(0, 7)).evaluate(Assumptions())
    tokens = 1.0 + 0.8 * (1 + 0.7 * (1 + 0.6 * (1 + 0.5 * (1 + 0.4 * (1 + 0.3 * 1.2)))))
    before = seconds(batch, 7) / tokens
    assert found.shares == {0: pytest.approx(1.0)}
    less = batch
    for _ in range(200):
        less = batch * seconds(less, 0) / before
    assert found.same_arrivals == pytest.approx(batch / less, rel=0.02)
    assert found.same_arrivals > found.same_requests > 1.0


def test_a_load_that_varies_within_a_window_is_met_with_more_than_one_k() -> None:
    """Which no single K is as good as."""
    steady = window(30.0, 3, acceptance=(0.7,) * 7)
    varying = replace(steady, running_deviation=26.0)
    assert len(replay(steady).evaluate(Assumptions()).shares) == 1
    assert len(replay(varying).evaluate(Assumptions()).shares) == 2


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_measured_over_predicted_latency_is_found(factor: float) -> None:
    """It tells whether a profile is that of these engines."""
    assert replay(window(20.0, 3, factor=factor)).fit_ratios() == pytest.approx([factor], rel=0.01)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(30, 300), st.integers(1, 7))
def test_delivered_tokens_are_those_of_requests_that_end(acceptance: float, output: int, k: int) -> None:
    """Counted step by step: one for the first token, then whole drafts until the output is there."""
    rng = np.random.default_rng((round(1000 * acceptance), output, k))
    steps = 0
    for _ in range(400):
        accepted = np.cumprod(rng.random((output, k)) < acceptance, axis=1).sum(axis=1)
        steps += 2 + int(np.searchsorted(np.cumsum(1 + accepted), output - 1))
    expected = [sum(acceptance**j for j in range(n + 1)) for n in range(k + 1)]
    assert delivered(expected, output)[k] == pytest.approx(400 * output / steps, rel=0.06)
