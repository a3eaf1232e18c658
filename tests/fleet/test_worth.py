"""What is said of starting pods with the drafter: a saving only where it is sure, a loss as plainly."""

from typing import Any

import pytest

from tests.fleet.builders import LADDER, latency_model
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Capability, attainable
from turbospec.fleet.demand import Lengths
from turbospec.fleet.snapshot import PlainView
from turbospec.fleet.worth import Variant, Worth, worth

LENGTHS = Lengths(200.0, 200.0, 300.0)


def engine(acceptance: float | None = 0.8, factor: float = 1.0, **changes: Any) -> Capability:
    """``factor`` slower than the model."""
    values: dict[str, Any] = {
        "latency": latency_model(factor),
        "estimates": (PositionEstimate(acceptance, 1.0, 500.0),) * 7,
        "draft_tokens": LADDER,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
        "kv_cache_tokens": 400_000,
        "objective": Objective(0.010, 90),
    }
    return Capability(**(values | changes))


def plain(speedup: float = 1.0, kv_cache_tokens: int = 400_000) -> PlainView:
    """The engine without its drafter."""
    return PlainView(latency_model(1.0 / speedup), kv_cache_tokens, 20.0, 0.01)


def said(speculative: Capability, speedup: float, error: float = 0.02) -> Worth:
    found = worth(speculative, plain(speedup), LENGTHS, (error / 2.0,))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("acceptance", "speedup", "error", "want"),
    [
        (0.9, 1.0, 0.02, Variant.SPECULATIVE),
        (0.3, 1.2, 0.02, Variant.PLAIN),
        (0.3, 1.0, 0.02, Variant.EITHER),
        (0.9, 1.0, 0.9, Variant.EITHER),
    ],
    ids=["easy text", "a costly drafter", "K = 0 is as good as plain", "profiles that know little"],
)
def test_only_what_is_sure_is_recommended(acceptance: float, speedup: float, error: float, want: Variant) -> None:
    assert said(engine(acceptance), speedup, error).recommended is want


@pytest.mark.parametrize("percentile", [50, 90, 99])
def test_the_interval_holds_the_pods_that_both_would_take(percentile: int) -> None:
    """Whether requests differ as much as is assumed, or not at all."""
    speculative = engine(0.8, objective=Objective(0.010, percentile))
    without, with_drafts = attainable(engine(draft_tokens=(0,)), LENGTHS), attainable(speculative, LENGTHS)
    assert without is not None
    assert with_drafts is not None
    saved = 1.0 - without.requests_per_second / with_drafts.requests_per_second
    found = said(speculative, 1.0, 0.0)
    assert found.low - 1e-9 <= saved <= found.high + 1e-9
    assert (found.high - found.low > 0.01) is (percentile > 50)


def test_of_text_that_nobody_has_seen_nothing_is_said() -> None:
    assert worth(engine(None), plain(), LENGTHS, (0.01,)) is None
