"""Profiles that grow while engines serve."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import (
    KEY,
    LADDER,
    MODEL,
    NOW,
    conditions,
    job,
    jobs,
    pod,
    policy,
    profile,
    pushes,
    report,
    snapshot,
    status,
    step_seconds,
)
from tests.fleet.serving_builders import NAME, cell, cells, written
from turbospec.control.served_cells import ServedCell
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import HarvestProfile, WriteServedProfile
from turbospec.fleet.memory import forget
from turbospec.fleet.serving_profile import FEWEST_SAMPLES, WRITE_SECONDS, grow, has_news
from turbospec.fleet.snapshot import EngineIdentity, FleetSnapshot, JobPhase, Mode, ProfileSource, ProfileView


def fleet(
    *engines: tuple[ServedCell, ...], source: ProfileSource = ProfileSource.SERVING, **changes: object
) -> FleetSnapshot:
    pods = tuple(
        pod(f"chat-{n}", report=report(engine_id=f"engine-{n}"), cells=measured) for n, measured in enumerate(engines)
    )
    return replace(snapshot(policies=(policy(profile_source=source),), pods=pods), **changes)  # type: ignore[arg-type]


def stored(effect: WriteServedProfile, seconds: float = NOW) -> ProfileView:
    """As the operator reads it back."""
    return profile(
        name=effect.name, latency=effect.model, served=True, measured_seconds=seconds, coverage=effect.coverage
    )


def test_what_engines_have_measured_becomes_a_profile() -> None:
    """Marked as grown, under a name of its own."""
    (effect,) = written(decide(fleet(cells()), FleetMemory())[0])
    assert (effect.namespace, effect.name, effect.key, effect.pod) == ("team", NAME, KEY, "chat-0")
    assert effect.coverage == "grown while serving: 6 points, 24 cells, 1 engine"
    for batch in (1, 3, 8, 32):
        for k in LADDER:
            predicted = effect.model.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=500 * batch)
            assert predicted == pytest.approx(step_seconds(batch, k) * 1.005, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"profile_source": ProfileSource.SERVING}, 1),
        ({"profile_source": ProfileSource.SERVING, "mode": Mode.ADVISE}, 1),
        ({"profile_source": ProfileSource.SERVING, "mode": Mode.PAUSED}, 0),
        ({"profile_source": ProfileSource.JOB}, 0),
        ({"profile_source": ProfileSource.EXISTING}, 0),
    ],
)
def test_only_a_policy_with_source_serving_lets_profiles_grow(changes: dict[str, Any], want: int) -> None:
    """And not while it is paused."""
    observed = replace(fleet(cells()), policies=(policy(**changes),))
    effects, _ = decide(observed, FleetMemory())
    assert len(written(effects)) == want
    assert bool(jobs(effects)) == (changes["profile_source"] is ProfileSource.JOB)


@pytest.mark.parametrize(
    "measured",
    [
        (),
        cells((1, 2, 4)),
        tuple(one for one in cells() if one.draft_tokens),
        tuple(one for one in cells() if not one.draft_tokens),
        tuple(replace(one, samples=FEWEST_SAMPLES - 1) for one in cells()),
        tuple(replace(one, drafted_per_request=0.1 * one.draft_tokens) for one in cells() if one.draft_tokens),
    ],
    ids=["nothing", "three points", "no K = 0", "K = 0 only", "few steps", "hardly any drafts"],
)
def test_too_little_is_no_profile_yet(measured: tuple[ServedCell, ...]) -> None:
    """The condition says what is waited for, and engines count as controlled: they learn by themselves."""
    observed = fleet(measured)
    effects, memory = decide(observed, FleetMemory())
    assert not written(effects)
    assert conditions(effects)["Profiled"].reason == "ProfileGrowing"
    (view,) = observed.pods
    assert view.report is not None
    running = replace(view, report=replace(view.report, applied_id=pushes(effects)[0].document_id))
    effects, _ = decide(replace(observed, pods=(running,), now_seconds=NOW + 2), memory)
    assert conditions(effects)["Ready"].status == "True"
    assert status(effects).engines[0].controlled


def test_a_measured_profile_is_never_replaced() -> None:
    """Nor is one that a person wrote, or the cluster's; an old one of ours is."""
    for there in (profile(), profile(name="by-hand"), profile(namespace=None, name="shared")):
        effects, _ = decide(fleet(cells(), profiles=(there,)), FleetMemory())
        assert not written(effects)
    grown = profile(name=NAME, served=True, measured_seconds=NOW - WRITE_SECONDS)
    effects, _ = decide(fleet(cells(factor=1.1), profiles=(grown,)), FleetMemory())
    assert len(written(effects)) == 1


def test_a_measured_profile_is_preferred_to_a_grown_one() -> None:
    """Whichever comes first in the list."""
    grown = profile(name=NAME, served=True, latency=MODEL)
    for there in (profile(name="zz-by-hand"), profile(namespace=None, name="shared")):
        for order in ((grown, there), (there, grown)):
            effects, _ = decide(fleet(cells(), profiles=order), FleetMemory())
            assert "grown" not in conditions(effects)["Profiled"].message
            assert there.name in conditions(effects)["Profiled"].message


def test_versions_come_five_minutes_apart_and_only_with_news() -> None:
    """Every version is a new document for every engine; a restarted operator counts from what is stored."""
    observed, memory = fleet(cells()), FleetMemory()
    times: list[float] = []
    measured = cells()
    for seconds in range(0, 2400, 10):
        if seconds == 1000:
            measured = cells(factor=1.2)
        if seconds == 600:
            memory = FleetMemory()
        (view,) = observed.pods
        observed = replace(observed, pods=(replace(view, cells=measured),), now_seconds=NOW + seconds)
        effects, memory = decide(observed, memory)
        for effect in written(effects):
            times.append(seconds)
            observed = replace(observed, profiles=(stored(effect, NOW + seconds),))
    assert times[0] == 0
    assert len(times) == 2
    assert 1000 <= times[1] <= 1000 + WRITE_SECONDS


def test_a_write_that_failed_is_tried_again_at_once() -> None:
    """The adapter says so."""
    effects, memory = decide(fleet(cells()), FleetMemory())
    assert not written(decide(fleet(cells(), now_seconds=NOW + 2), memory)[0])
    assert written(decide(fleet(cells(), now_seconds=NOW + 2), forget(memory, effects))[0])


def test_engines_are_pooled_and_one_that_is_off_is_left_out() -> None:
    """Three agree, one is twice as slow."""
    grown = grow([cells(noise=0.02), cells(noise=0.02), cells(factor=2.0), cells(noise=0.02)])
    assert grown is not None
    predicted = grown.step_seconds(decodes=8, draft_tokens=3, kv_tokens=4000)
    assert predicted == pytest.approx(step_seconds(8, 3) * 1.005, rel=0.04)


def test_half_drafts_are_scaled_to_full_ones() -> None:
    """A cell of a profile is a step in which every request drafted K tokens."""

    def half(one: ServedCell) -> ServedCell:
        k, batch = one.draft_tokens, round(one.batch)
        work = 0.006 + 0.00006 * batch * (1 + k / 2) + 0.001 * k / 2 + 0.0003 * (k > 0)
        return replace(one, drafted_per_request=k / 2, seconds=work)

    grown = grow([tuple(half(one) for one in cells((1, 2, 4, 8, 16, 32, 64)))])
    assert grown is not None
    found = {(one.batch, one.draft_tokens): one.seconds for one in grown.cells}
    for batch in (1, 8, 64):
        assert found[batch, 7] == pytest.approx(step_seconds(batch, 7), rel=0.03)


def test_a_profile_holds_no_more_cells_than_a_document_takes() -> None:
    """Those with most samples stay."""
    many = tuple(
        cell(batch, k, context, samples=batch * 10)
        for batch in range(4, 200, 3)
        for context in (50, 100, 200, 400, 800, 1600, 3200)
        for k in LADDER
    )
    grown = grow([many])
    assert grown is not None
    assert len(grown.cells) == 384
    assert max(one.batch for one in grown.cells) > 180


def test_news_are_other_times_or_many_more_cells() -> None:
    """1% of noise is none."""
    known = grow([cells()])
    assert known is not None
    for measured, news in (
        (cells(noise=0.005), False),
        (cells(factor=1.05), True),
        (cells((1, 2, 4, 8, 16, 32, 64)), True),
    ):
        found = grow([measured])
        assert found is not None
        assert has_news(known, found) is news


def test_source_job_measures_what_has_only_grown() -> None:
    """The grown profile stays in use until the Job's is there, which then wins."""
    grown = profile(name=NAME, served=True, measured_seconds=NOW - 10)
    observed = fleet(cells(), source=ProfileSource.JOB, profiles=(grown,))
    effects, _ = decide(observed, FleetMemory())
    assert len(jobs(effects)) == 1
    found = conditions(effects)["Profiled"]
    assert (found.status, found.reason) == ("True", "ProfileStale")
    assert "grown while serving" in found.message
    assert pushes(effects)[0].latency is not None
    done = job(phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=NOW - 100)
    effects, _ = decide(replace(observed, jobs=(done,)), FleetMemory())
    (harvest,) = [effect for effect in effects if isinstance(effect, HarvestProfile)]
    assert harvest.profile == f"profile-{KEY}"


def test_a_stand_in_does_not_keep_a_profile_from_growing() -> None:
    """One of another release is used until the engine's own is there."""
    observed = fleet(cells())
    (view,) = observed.pods
    assert view.report is not None
    ours = EngineIdentity("h100", "target", "drafter", "eagle3", (), "0.32.0")
    view = replace(view, report=replace(view.report, identity=ours))
    other = profile(name="other", key="ffffffffffffffff", identity=replace(ours, engine_version="0.32.1"))
    effects, _ = decide(replace(observed, pods=(view,), profiles=(other,)), FleetMemory())
    assert conditions(effects)["Profiled"].reason == "ProfileProvisional"
    assert len(written(effects)) == 1
