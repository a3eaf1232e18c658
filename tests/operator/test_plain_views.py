"""What a profile says of the engine without its drafter becomes a model of its own; bad content becomes a reason."""

from typing import Any

import pytest

from tests.operator.samples import MICROSECONDS_PER_STEP, MICROSECONDS_PER_TOKEN, profile_result
from turbospec.fleet.effects import HarvestProfile
from turbospec.fleet.profiles import fitting
from turbospec.fleet.snapshot import ProfileView
from turbospec.wire.plain_engine import PlainCell, PlainEngine
from turbospec_operator import manifests, views
from turbospec_operator.job_views import Measured

SPEEDUP = 1.25


def plain_engine(batches: tuple[int, ...] = (1, 2, 4, 8, 16), **changes: Any) -> PlainEngine:
    """Steps of the sample profile, faster by ``SPEEDUP``."""
    steps = {batch: (MICROSECONDS_PER_STEP + MICROSECONDS_PER_TOKEN * batch) / SPEEDUP for batch in batches}
    cells = [
        PlainCell(batch=batch, context_tokens=256, microseconds=round(value), samples=9)
        for batch, value in steps.items()
    ]
    values: dict[str, Any] = {"cells": cells, "kv_cache_tokens": 120_000, "start_seconds": 19}
    return PlainEngine(**(values | changes))


def view(plain: PlainEngine | None) -> ProfileView:
    """As the operator reads back what it has written."""
    measured = Measured(profile_result().model_copy(update={"plain": plain}), "node-1", "vllm:1")
    raw = manifests.profile(HarvestProfile("shop", "job", "profile-x"), measured, 1_700_000_000.0)
    raw["metadata"] |= {"uid": "uid-1", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z"}
    return views.profile_view(raw)


def test_the_plain_engine_is_a_model_of_its_own() -> None:
    found = view(plain_engine())
    assert found.plain is not None
    assert found.latency is not None
    assert (found.plain.kv_cache_tokens, found.plain.start_seconds) == (120_000, 19)
    assert found.plain.hold_out_error == pytest.approx(0.0, abs=0.002)
    for batch in (1, 6, 16):
        with_drafter = found.latency.step_seconds(decodes=batch, draft_tokens=0, kv_tokens=256 * batch)
        plain = found.plain.latency.step_seconds(decodes=batch, draft_tokens=0, kv_tokens=256 * batch)
        assert with_drafter / plain == pytest.approx(SPEEDUP, rel=0.01)


def test_prompts_cost_what_they_cost_with_the_drafter() -> None:
    """Nobody measures them without it, and decodes, which wait for memory, do not tell."""
    found = view(plain_engine())
    assert found.plain is not None
    with_prompts, without = (
        found.plain.latency.step_seconds(decodes=4, draft_tokens=0, kv_tokens=1024, prefill_tokens=prefill)
        for prefill in (500, 0)
    )
    assert with_prompts - without == pytest.approx(500 * MICROSECONDS_PER_TOKEN / 1e6)


def test_it_is_carried_to_the_engines_that_have_this_profile() -> None:
    found = view(plain_engine())
    carried = fitting(found)
    assert (carried.plain, carried.hold_out_error) == (found.plain, 0.02)


def test_few_cells_have_no_error_that_could_be_told() -> None:
    found = view(plain_engine((4, 16)))
    assert found.plain is not None
    assert found.plain.hold_out_error is None


def test_a_profile_without_it_says_nothing() -> None:
    found = view(None)
    assert (found.plain, found.plain_invalid) == (None, None)


@pytest.mark.parametrize(
    ("plain", "named"),
    [
        (plain_engine(kv_cache_tokens=0), "kvCacheTokens"),
        (plain_engine(()), "needs cells"),
        (
            plain_engine(cells=[PlainCell(batch=4, context_tokens=256, microseconds=500_000)]),
            "cell (batch 4, contextTokens 256, draftTokens 0) says 500 ms",
        ),
    ],
    ids=["no cache", "no cell", "nonsense"],
)
def test_what_is_refused_leaves_the_profile_usable_and_says_why(plain: PlainEngine, named: str) -> None:
    found = view(plain)
    assert found.latency is not None
    assert found.plain is None
    assert found.plain_invalid is not None
    assert "spec.plain" in found.plain_invalid
    assert named in found.plain_invalid


def test_relisting_makes_no_new_model() -> None:
    """Models keep what they have worked out."""
    first, again = view(plain_engine()), view(plain_engine())
    assert first.plain is not None
    assert again.plain is not None
    assert first.plain.latency is again.plain.latency
