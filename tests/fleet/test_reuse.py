"""A profile of nearly the same engine stands in until the engine's own is there, believed less, and never silently."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import (
    KEY,
    MODEL,
    NOW,
    conditions,
    job,
    jobs,
    latency_model,
    pod,
    policy,
    profile,
    pushes,
    report,
    snapshot,
)
from tests.fleet.world import Engine, World
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.reuse import differences
from turbospec.fleet.snapshot import EngineIdentity, FleetSnapshot, JobPhase, ProfileSource, ProfileView

ENGINE = EngineIdentity(
    hardware="gpu / NVIDIA H100 80GB HBM3 / 80 GiB / 1",
    target="llama-1",
    drafter="eagle3-1",
    method="eagle3",
    engine_arguments=(("cudagraph_sizes", "aa"), ("dtype", "bfloat16"), ("max_num_batched_tokens", "8192")),
    engine_version="0.32.1",
)


def but(**changes: Any) -> EngineIdentity:
    """The engine with these fields, or engine arguments (None: not stated), changed."""
    arguments: dict[str, str | None] = dict(ENGINE.engine_arguments)
    fields = {name: value for name, value in changes.items() if hasattr(ENGINE, name)}
    arguments |= {name: value for name, value in changes.items() if name not in fields}
    stated = tuple(sorted((name, value) for name, value in arguments.items() if value is not None))
    return replace(ENGINE, **fields, engine_arguments=stated)


@pytest.mark.parametrize(
    ("measured", "penalties"),
    [
        (but(), []),
        (but(engine_version="0.32.0"), [0.05]),
        (but(engine_version="0.32.1.post1+cpu"), [0.05]),
        (but(engine_version="0.31.4"), [0.10]),
        (but(engine_version="0.34.0"), [0.20]),
        (but(engine_version="0.29.0"), [pytest.approx(0.30)]),
        (but(engine_version="0.28.9"), None),
        (but(engine_version="1.32.1"), None),
        (but(engine_version="main"), None),
        (but(max_num_batched_tokens="2048"), [0.03]),
        (but(cudagraph_sizes="bb"), [0.10]),
        (but(engine_version="0.32.0", max_num_batched_tokens="2048"), [0.05, 0.03]),
        (but(another="1"), [0.10]),
        (but(dtype=None), [0.10]),
        (but(dtype="float16"), None),
        (but(hardware="gpu / NVIDIA A100-SXM4-80GB / 80 GiB / 1"), None),
        (but(hardware="gpu / NVIDIA H100 80GB HBM3 / 80 GiB / 2"), None),
        (but(hardware="gpu / NVIDIA H100 80GB HBM3 / 94 GiB / 1"), None),
        (but(target="llama-2"), None),
        (but(drafter="eagle3-2"), None),
        (but(method="mtp"), None),
    ],
)
def test_what_differs_has_a_price_and_the_rest_is_another_engine(
    measured: EngineIdentity, penalties: list[float] | None
) -> None:
    """The same both ways; never across hardware, models or methods."""
    for one, other in ((ENGINE, measured), (measured, ENGINE)):
        found = differences(one, other)
        assert (None if found is None else [difference.doubt for difference in found]) == penalties


def test_unknown_hardware_is_like_no_other() -> None:
    """Two machines that could not name their processor need not be the same."""
    unnamed = but(hardware="cpu / unknown / 2 CPUs")
    assert differences(unnamed, unnamed) is None


def world(*profiles: ProfileView, **changes: Any) -> FleetSnapshot:
    """One engine without a profile of its own."""
    engine = pod(report=report(engine_id="engine-chat-0", identity=ENGINE))
    return snapshot(pods=(engine,), profiles=profiles, **changes)


def other(name: str, identity: EngineIdentity, **changes: Any) -> ProfileView:
    """A profile of another key."""
    return profile(**({"name": name, "key": "f" * 16, "identity": identity} | changes))


NEAR = other("near", but(engine_version="0.32.0", max_num_batched_tokens="2048"))


def test_a_roll_out_goes_on_with_the_old_images_profile_while_the_new_one_is_measured() -> None:
    """One Job for the exact key; meanwhile the old model, doubted; the condition names profile, difference, penalty."""
    effects, _ = decide(world(NEAR), FleetMemory())
    assert [effect.key for effect in jobs(effects)] == [KEY]
    (document,) = pushes(effects)
    assert document.latency is not None
    assert document.latency.doubt == pytest.approx(0.0583, abs=1e-4)
    assert replace(document.latency, doubt=0.0) == MODEL
    profiled = conditions(effects)["Profiled"]
    assert (profiled.status, profiled.reason) == ("False", "ProfileProvisional")
    for said in ("near", "0.32.1, measured on 0.32.0", "max_num_batched_tokens 8192, measured with 2048", "6%", "Job"):
        assert said in profiled.message


def test_the_exact_profile_replaces_the_stand_in() -> None:
    """Another document, the penalty gone, even where the model is the same."""
    before, memory = decide(world(NEAR), FleetMemory())
    after, _ = decide(replace(world(NEAR, profile()), now_seconds=NOW + 2), memory)
    (first,), (second,) = pushes(before), pushes(after)
    assert second.latency == MODEL
    assert first.document_id != second.document_id
    assert not jobs(after)


@pytest.mark.parametrize(
    ("profiles", "wanted"),
    [
        ((other("b-far", but(engine_version="0.30.0")), NEAR), "near"),
        ((replace(NEAR, namespace=None, name="a"), NEAR), "near"),
        ((replace(NEAR, namespace=None, name="a"),), "clusterspeculationprofile/a"),
        ((replace(NEAR, namespace="elsewhere"),), None),
        ((replace(NEAR, latency=None),), None),
        ((replace(NEAR, identity=None),), None),
    ],
)
def test_the_nearest_usable_profile_stands_in(profiles: tuple[ProfileView, ...], wanted: str | None) -> None:
    """Of the namespace or the cluster, by penalty first."""
    for order in (profiles, profiles[::-1]):
        effects, _ = decide(world(*order), FleetMemory())
        profiled = conditions(effects)["Profiled"]
        assert (profiled.reason == "ProfileProvisional") is (wanted is not None)
        assert f"profile {wanted} stands in" in profiled.message or wanted is None


def test_an_engine_whose_own_profile_is_deleted_keeps_its_model() -> None:
    """The last good model stays while it is measured again; an edit under a stand-in is obeyed as ever."""
    fleet = World(world(NEAR, profile()), {"chat-0": Engine("chat-0", identity=ENGINE)})
    fleet.rounds(3)
    own = fleet.engines["chat-0"].base
    fleet.snapshot = replace(fleet.snapshot, profiles=(NEAR,))
    fleet.rounds(5)
    assert fleet.engines["chat-0"].base == own
    assert fleet.reasons() == fleet.reasons() | {"Profiled": "ProfileProvisional", "Ready": "AllEnginesControlled"}
    assert "keeps the model of its own profile" in fleet.statuses["chat"].engines[0].message
    fleet.restart()
    fleet.rounds(3)
    assert fleet.engines["chat-0"].base == own


@pytest.mark.parametrize("restarted", [False, True])
def test_an_edit_reaches_an_engine_under_a_stand_in(restarted: bool) -> None:
    """Also where the operator has forgotten that it is one."""
    fleet = World(world(NEAR), {"chat-0": Engine("chat-0", identity=ENGINE)})
    fleet.rounds(3)
    if restarted:
        fleet.restart()
        fleet.rounds(1)
    fleet.snapshot = replace(fleet.snapshot, policies=(policy(draft_tokens=(0, 3), generation=2),))
    fleet.rounds(3)
    base = fleet.engines["chat-0"].base
    assert base is not None
    assert base.allowed_draft_tokens == (0, 3)


def test_what_waits_for_a_person_stays_the_reason() -> None:
    """A Job that fails again and again is not hidden behind a stand-in; engines are controlled all the same."""
    failed = job(phase=JobPhase.FAILED, failure="out of memory", finished_seconds=NOW)
    effects, _ = decide(world(NEAR, jobs=(failed,)), FleetMemory())
    profiled = conditions(effects)["Profiled"]
    assert profiled.reason == "ProfilingFailed"
    assert "out of memory" in profiled.message
    assert "near stands in" in profiled.message
    assert pushes(effects)[0].latency is not None


def test_a_refused_profile_of_the_same_key_is_not_replaced() -> None:
    """Engines have its last good model."""
    effects, _ = decide(world(NEAR, profile(latency=None, invalid="no cells")), FleetMemory())
    assert conditions(effects)["Profiled"].reason == "ProfileInvalid"
    assert all(push.latency is None for push in pushes(effects))


def test_a_refused_profile_of_the_cluster_is_named() -> None:
    """Only its administrator can correct it, if somebody says so."""
    refused = profile(namespace=None, name="h100-chat", latency=None, invalid="no cells")
    existing = (policy(profile_source=ProfileSource.EXISTING),)
    profiled = conditions(decide(world(refused, policies=existing), FleetMemory())[0])["Profiled"]
    assert profiled.reason == "ProfileMissing"
    assert "ClusterSpeculationProfile h100-chat has the key, but was refused: no cells" in profiled.message


def test_a_pinned_k_needs_no_stand_in() -> None:
    """Nothing is predicted."""
    effects, _ = decide(world(NEAR, policies=(policy(draft_tokens=(3,)),)), FleetMemory())
    assert conditions(effects)["Profiled"].reason == "NotNeeded"
    assert pushes(effects)[0].latency is None


def test_the_penalty_counts_in_the_documents_name() -> None:
    """The same cells under another penalty are another document."""
    ids = []
    for version in ("0.32.0", "0.31.0"):
        shared = other("shared", but(engine_version=version), latency=latency_model())
        ids.append(pushes(decide(world(shared), FleetMemory())[0])[0].document_id)
    assert ids[0] != ids[1]
