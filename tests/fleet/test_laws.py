"""Laws that hold for every snapshot."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.builders import KEY, LADDER, MODEL, NOW, job, pod, policy, profile, report
from tests.fleet.scaling_builders import hpa
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import CreateProfilingJob, EmitEvent, HarvestProfile, PushControl, SetPolicyStatus
from turbospec.fleet.snapshot import (
    EngineLoopMode,
    FleetSnapshot,
    JobObstacle,
    JobPhase,
    Mode,
    PodView,
    PolicyView,
    PositionCounts,
    ProfileSource,
)

KEYS = (KEY, "ffffffffffffffff")

policies = st.builds(
    lambda n, age, mode, loop, k, source, invalid, label: policy(
        f"p{n}",
        created_seconds=NOW - age,
        mode=mode,
        loop=loop,
        draft_tokens=k,
        profile_source=source,
        invalid=invalid,
        match_labels=(("app", label),),
    ),
    st.integers(0, 3),
    st.sampled_from([10.0, 20.0]),
    st.sampled_from(list(Mode)),
    st.sampled_from(list(EngineLoopMode)),
    st.sampled_from([LADDER, (0,), (5,), (0, 5), (9,)]),
    st.sampled_from(list(ProfileSource)),
    st.sampled_from([None, None, "bad"]),
    st.sampled_from(["chat", "code"]),
)

counts = st.integers(0, 500).flatmap(
    lambda n: st.lists(st.integers(0, n), min_size=7, max_size=7).map(
        lambda accepted: PositionCounts((n,) * 7, tuple(sorted(accepted, reverse=True)))
    )
)

reports = st.builds(
    lambda n, key, applied, batch, k, acceptance, samples, counted, code: report(
        engine_id=f"engine-{n}",
        profile_key=key,
        applied_id=applied,
        applied_overlay=applied is not None and applied.startswith("probe"),
        running=batch,
        decodes=batch,
        kv_tokens=batch * 100,
        draft_tokens=k,
        acceptance=(acceptance,) * 7,
        acceptance_samples=(samples,) * 7,
        counts=counted,
        unsupported_code=code,
    ),
    st.integers(0, 2),
    st.sampled_from(KEYS),
    st.sampled_from([None, "waiting-0", "local-0", "local-0-AB", "table-0", "pinned-0", "probe-0-1", "by-hand"]),
    st.sampled_from([0, 1, 40]),
    st.sampled_from([None, 0, 3]),
    st.sampled_from([None, 0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 50.0, 500.0]),
    counts,
    st.sampled_from([None, None, None, "NoSpeculation"]),
)

pods = st.builds(
    lambda n, label, said, ready, terminating, injected: pod(
        f"pod-{n}",
        labels=(("app", label),),
        report=said if injected else None,
        ready=ready,
        terminating=terminating,
        injected=injected,
    ),
    st.integers(0, 5),
    st.sampled_from(["chat", "code"]),
    st.one_of(st.none(), reports),
    st.booleans(),
    st.sampled_from([False, False, True]),
    st.sampled_from([True, True, False]),
)

profiles = st.builds(
    lambda key, valid: profile(
        name=f"profile-{key}", key=key, latency=MODEL if valid else None, invalid=None if valid else "nonsense"
    ),
    st.sampled_from(KEYS),
    st.booleans(),
)

jobs = st.builds(
    lambda key, attempt, phase, harvestable, finished: job(
        name=f"turbospec-profile-{key}" + (f"-{attempt}" if attempt > 1 else ""),
        key=key,
        attempt=attempt,
        phase=phase,
        harvestable=harvestable and phase is JobPhase.SUCCEEDED,
        finished_seconds=finished if phase is not JobPhase.RUNNING else None,
    ),
    st.sampled_from(KEYS),
    st.integers(1, 3),
    st.sampled_from(list(JobPhase)),
    st.booleans(),
    st.sampled_from([None, NOW - 1000, NOW - 5]),
)


obstacles = st.builds(
    lambda key, forbidden: JobObstacle("team", f"turbospec-profile-{key}", key, "No.", forbidden),
    st.sampled_from(KEYS),
    st.booleans(),
)


def _unique(name: str):  # type: ignore[no-untyped-def]  # a key function
    return lambda item: getattr(item, name)


snapshots = st.builds(
    lambda some_policies, some_pods, some_profiles, some_jobs, denied, obstacles, scalers: FleetSnapshot(
        NOW,
        1,
        policies=tuple(some_policies),
        pods=tuple(some_pods),
        profiles=tuple(some_profiles),
        jobs=tuple(some_jobs),
        denied=denied,
        obstacles=tuple(obstacles),
        autoscalers=tuple(scalers),
    ),
    st.lists(policies, max_size=3, unique_by=_unique("uid")),
    st.lists(pods, max_size=5, unique_by=_unique("uid")),
    st.lists(profiles, max_size=2, unique_by=_unique("name")),
    st.lists(jobs, max_size=3, unique_by=_unique("name")),
    st.sampled_from([(), ("create jobs in team: nothing is profiled",)]),
    st.lists(obstacles, max_size=2, unique_by=_unique("name")),
    st.lists(
        st.sampled_from([hpa(), hpa("other", selector=None), hpa("third", current=None, desired=None)]), unique=True
    ),
)


@settings(max_examples=60)
@given(snapshots, st.randoms(use_true_random=False))
def test_order_of_the_snapshot_does_not_matter(observed: FleetSnapshot, rng: random.Random) -> None:
    """Lists come from caches in any order: the decision is about sets."""
    shuffled = replace(
        observed,
        policies=tuple(rng.sample(observed.policies, len(observed.policies))),
        pods=tuple(rng.sample(observed.pods, len(observed.pods))),
        profiles=tuple(rng.sample(observed.profiles, len(observed.profiles))),
        jobs=tuple(rng.sample(observed.jobs, len(observed.jobs))),
        autoscalers=tuple(rng.sample(observed.autoscalers, len(observed.autoscalers))),
    )
    assert decide(shuffled, FleetMemory()) == decide(observed, FleetMemory())


@settings(max_examples=60)
@given(snapshots)
def test_deciding_twice_does_nothing_more(observed: FleetSnapshot) -> None:
    """With the returned memory the same snapshot has been dealt with."""
    _, memory = decide(observed, FleetMemory())
    again, _ = decide(observed, memory)
    assert again == ()


@settings(max_examples=60)
@given(snapshots)
def test_never_two_jobs_for_a_key(observed: FleetSnapshot) -> None:
    """At most one new Job per key, none beside a running one or a profile, never a name that is taken."""
    effects, _ = decide(observed, FleetMemory())
    created = [effect for effect in effects if isinstance(effect, CreateProfilingJob)]
    assert len({effect.key for effect in created}) == len(created)
    for effect in created:
        of_key = [view for view in observed.jobs if view.key == effect.key]
        assert effect.name not in [view.name for view in of_key]
        assert all(view.phase is not JobPhase.RUNNING for view in of_key)
        assert not any(view.harvestable for view in of_key)
        assert effect.key not in [view.key for view in observed.profiles]
        assert 1 <= effect.attempt <= 3
    harvests = [effect for effect in effects if isinstance(effect, HarvestProfile)]
    assert {(effect.namespace, effect.job) for effect in harvests} <= {
        (view.namespace, view.name) for view in observed.jobs if view.harvestable
    }


@settings(max_examples=60)
@given(snapshots)
def test_a_fleet_that_asks_for_advice_is_left_as_it_is(observed: FleetSnapshot) -> None:
    """Of all effects none reaches an engine, also after a round that enforced; what is written is about them only."""
    advise = replace(observed, policies=tuple(replace(entry, mode=Mode.ADVISE) for entry in observed.policies))
    _, enforced = decide(observed, FleetMemory())
    for memory in (FleetMemory(), enforced):
        effects, _ = decide(replace(advise, now_seconds=NOW + 60), memory)
        assert not [effect for effect in effects if isinstance(effect, PushControl)]


@settings(max_examples=60)
@given(snapshots)
def test_documents_go_only_where_they_may(observed: FleetSnapshot) -> None:
    """At most one per engine; none to pods that end, do not answer, or are governed by nobody who enforces."""
    effects, _ = decide(observed, FleetMemory())
    pushed = [effect for effect in effects if isinstance(effect, PushControl)]
    assert len({effect.engine.uid for effect in pushed}) == len(pushed)
    by_uid = {view.uid: view for view in observed.pods}
    by_name = {view.name: view for view in observed.policies}
    for effect in pushed:
        view, governor = by_uid[effect.engine.uid], by_name[effect.policy_name]
        assert view.report is not None
        assert view.injected
        assert not view.terminating
        assert view.report.unsupported_code is None
        assert governor.mode is Mode.ENFORCE
        assert governor.invalid is None
        assert governor == _governor(observed, view)
        assert set(effect.allowed_draft_tokens) <= set(governor.draft_tokens) & set(view.report.engine_draft_tokens)
        if view.report.applied_id is not None and view.report.applied_id.startswith("local-"):
            assert effect.latency is not None or effect.table is not None


def _governor(observed: FleetSnapshot, view: PodView) -> PolicyView:
    """The rule, said a second time and more simply: the oldest valid policy whose labels the pod carries."""
    selecting = [entry for entry in observed.policies if entry.invalid is None and entry.match_labels[0] in view.labels]
    return min(selecting, key=lambda entry: (entry.created_seconds, entry.name))


@settings(max_examples=60)
@given(snapshots)
def test_every_policy_gets_one_status_and_ready_means_all_controlled(observed: FleetSnapshot) -> None:
    """Ready is True exactly where there are Ready pods and every one of them is controlled."""
    effects, _ = decide(observed, FleetMemory())
    statuses = [effect for effect in effects if isinstance(effect, SetPolicyStatus)]
    assert sorted(entry.uid for entry in statuses) == sorted(entry.uid for entry in observed.policies)
    for entry in statuses:
        ready = next(condition for condition in entry.conditions if condition.type == "Ready")
        ready_pods = {view.name for view in observed.pods if view.ready}
        rows = [row for row in entry.engines if row.pod in ready_pods]
        assert (ready.status == "True") == (bool(rows) and all(row.controlled for row in rows))
        assert entry.controlled <= entry.pods


@settings(max_examples=60)
@given(snapshots)
def test_restart_repeats_no_event(observed: FleetSnapshot) -> None:
    """Once the statuses are written, a second operator has no news."""
    effects, _ = decide(observed, FleetMemory())
    written = {
        effect.uid: tuple((condition.type, condition.reason) for condition in effect.conditions)
        for effect in effects
        if isinstance(effect, SetPolicyStatus)
    }
    told = replace(observed, policies=tuple(replace(entry, reported=written[entry.uid]) for entry in observed.policies))
    effects, _ = decide(told, FleetMemory())
    assert not [effect for effect in effects if isinstance(effect, EmitEvent)]
