"""Pooled acceptance: weighted, from others only, and steady under noise."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.builders import KEY, NOW, pod, policy, profile, pushes, report, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.memory import PooledPosition
from turbospec.fleet.pooling import HALF_LIFE_SECONDS, pooled, pools_of, remember
from turbospec.fleet.prior import PRIOR_TOLERANCE, decode_prior, prior_code
from turbospec.fleet.snapshot import EngineReport, PodView


def engine(name: str, acceptance: float | None, samples: float, **changes: object) -> PodView:
    values = {"acceptance": (acceptance,) * 3, "acceptance_samples": (samples,) * 3}
    return pod(name, report=report(engine_id=name, **(values | changes)))


def said(acceptance: float | None, samples: float) -> EngineReport:
    return report(acceptance=(acceptance,), acceptance_samples=(samples,))


@pytest.mark.parametrize(
    ("reports", "want"),
    [
        ([], None),
        ([said(None, 0.0)], None),
        ([said(0.8, 10.0)], None),
        ([said(0.8, 100.0)], 0.8),
        ([said(0.8, 100.0), said(0.2, 50.0)], 0.6),
        ([said(0.8, 100.0), said(0.2, 10.0)], 0.8),
        ([said(0.8, 200.0), said(0.2, 100_000.0)], 0.5),
    ],
)
def test_pool_is_weighted_by_samples_and_leaves_young_engines_out(
    reports: list[EngineReport], want: float | None
) -> None:
    """Evidence counts by its size, up to a bound; a handful of drafts does not count."""
    found = pooled(reports)
    if want is None:
        assert not found
    else:
        assert found[0].acceptance == pytest.approx(want)


def test_position_without_samples_ends_the_pool() -> None:
    """What an engine only infers about deeper positions is no evidence."""
    inferred = report(acceptance=(0.8, 0.7, 0.6), acceptance_samples=(100.0, 40.0, 0.0))
    assert len(pooled([inferred])) == 2


def test_engine_is_never_told_its_own_estimate() -> None:
    """Alone it has nobody to learn from, not even from the memory of itself."""
    alone = (engine("a", 0.9, 100.0),)
    memory = remember(policy(), pools_of(policy(), alone, {}, NOW), {}, NOW)
    assert pools_of(policy(), alone, memory, NOW).for_engine(KEY, "pod-a") == ()
    both = (*alone, engine("b", 0.1, 0.0))
    pools = pools_of(policy(), both, memory, NOW)
    assert pools.for_engine(KEY, "pod-a") == ()
    assert pools.for_engine(KEY, "pod-b")[0].acceptance == pytest.approx(0.9)


def test_fleet_that_was_scaled_to_zero_is_remembered_for_a_while() -> None:
    """The first pod after a pause starts with what the last one knew, and less surely the longer it was."""
    memory = remember(policy(), pools_of(policy(), (engine("a", 0.9, 100.0),), {}, NOW), {}, NOW)
    later = NOW + HALF_LIFE_SECONDS
    memory = remember(policy(), pools_of(policy(), (), memory, later), memory, later)
    (first, *_) = pools_of(policy(), (engine("b", None, 0.0),), memory, later).for_engine(KEY, "pod-b")
    assert first == PooledPosition(pytest.approx(0.9), pytest.approx(50.0))  # type: ignore[arg-type]
    much_later = NOW + 20 * HALF_LIFE_SECONDS
    assert not remember(policy(), pools_of(policy(), (), memory, much_later), memory, much_later)


def test_pools_of_other_keys_and_policies_are_apart() -> None:
    """Another model's acceptance says nothing."""
    pods = (engine("a", 0.9, 100.0), engine("b", None, 0.0, profile_key="ffffffffffffffff"))
    assert pools_of(policy(), pods, {}, NOW).for_engine("ffffffffffffffff", "pod-b") == ()


@given(st.lists(st.tuples(st.floats(0, 1, allow_nan=False), st.floats(0, 1e6, allow_nan=False)), max_size=40))
def test_code_holds_acceptance_within_half_a_step(entries: list[tuple[float, float]]) -> None:
    """Decoding gives bin centres; nothing is invented for positions with too few samples."""
    positions = tuple(PooledPosition(acceptance, samples) for acceptance, samples in entries)
    decoded = decode_prior(prior_code(positions, ""))
    for position, given_position in zip(decoded, positions, strict=False):
        assert abs(position.acceptance - given_position.acceptance) <= 1 / 32 + 1e-9
        assert position.samples <= given_position.samples
    assert len(decoded) <= min(32, len(positions))


@given(st.floats(0.1, 0.9), st.lists(st.floats(-0.03, 0.03), min_size=1, max_size=20))
def test_small_noise_never_changes_a_prior(acceptance: float, noise: list[float]) -> None:
    """Once given, a prior is kept while the pool stays near it: ids do not churn."""
    code = prior_code((PooledPosition(acceptance, 100.0),), "")
    for change in noise:
        assert prior_code((PooledPosition(acceptance + change, 100.0),), code) == code


def test_prior_follows_a_real_change() -> None:
    """Beyond the tolerance a young engine gets the new pool."""
    code = prior_code((PooledPosition(0.9, 100.0),), "")
    changed = prior_code((PooledPosition(0.9 - 2 * PRIOR_TOLERANCE, 100.0),), code)
    assert decode_prior(changed)[0].acceptance == pytest.approx(0.7, abs=1 / 32)


@pytest.mark.parametrize(("own_samples", "want_push"), [(0.0, True), (300.0, False)])
def test_only_young_engines_get_a_new_prior(own_samples: float, want_push: bool) -> None:
    """A mature engine knows better; its document stays as it is, whatever its peers say."""
    observed = snapshot(profiles=(profile(),), pods=(engine("a", 0.9, 300.0), engine("b", 0.5, own_samples)))
    effects, memory = decide(observed, FleetMemory())
    ids = {push.engine.pod: push.document_id for push in pushes(effects)}
    after = tuple(
        replace(view, report=replace(view.report, applied_id=ids[view.name])) for view in observed.pods if view.report
    )
    fallen = (replace(after[0], report=replace(after[0].report, acceptance=(0.2,) * 3)), after[1])  # type: ignore[type-var]
    effects, _ = decide(replace(observed, pods=fallen, now_seconds=NOW + 2), memory)
    assert ([push.engine.pod for push in pushes(effects)] == ["b"]) is want_push
    restarted, _ = decide(replace(observed, pods=after, now_seconds=NOW + 2), FleetMemory())
    assert not pushes(restarted)


def test_prior_is_kept_when_the_peers_have_gone() -> None:
    """Nobody left to ask is no reason to take a prior back, also for an operator that has just started."""
    pods = (engine("a", 0.9, 100.0), engine("b", None, 0.0))
    effects, _ = decide(snapshot(profiles=(profile(),), pods=pods), FleetMemory())
    (given_id,) = [push.document_id for push in pushes(effects) if push.engine.pod == "b" and push.prior]
    alone = snapshot(profiles=(profile(),), pods=(engine("b", None, 0.0, applied_id=given_id),))
    assert not pushes(decide(alone, FleetMemory())[0])


def test_unknown_code_is_no_prior() -> None:
    """An id written by somebody else decodes to nothing."""
    assert decode_prior("§") == ()
