"""Every way in which control can fail has its own reason, and its message says what to do."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fleet.builders import KEY, conditions, job, pod, policy, profile, pushes, report, snapshot, status
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.snapshot import FleetSnapshot, JobPhase, Mode, PodView, ProfileSource

UNSUPPORTED = {"unsupported_code": "NoSpeculation", "unsupported_message": "started without --speculative-config"}


def fleet(
    *, pods: tuple[PodView, ...] | None = None, policy_changes: dict[str, Any] | None = None, **changes: Any
) -> FleetSnapshot:
    return snapshot(policies=(policy(**(policy_changes or {})),), pods=(pod(),) if pods is None else pods, **changes)


CASES: dict[str, tuple[FleetSnapshot, str, str, str, list[str]]] = {
    "nothing matches": (fleet(pods=()), "Ready", "False", "NoPodsMatched", ["app=chat", "kubectl get pods -n team"]),
    "older than the webhook": (
        fleet(pods=(pod(injected=False, report=None),)),
        "Injected",
        "False",
        "NotInjected",
        ["0/1", "kubectl rollout restart deployment/chat -n team"],
    ),
    "not labelled": (
        fleet(pods=(pod(injected=False, report=None, labels=(("app", "chat"),)),)),
        "Ready",
        "False",
        "NotInjected",
        ['turbospec.io/inject: "true"'],
    ),
    "webhook refused": (
        fleet(pods=(pod(injected=False, report=None, not_injected_reason="no container runs vLLM"),)),
        "Ready",
        "False",
        "NotInjected",
        ["no container runs vLLM"],
    ),
    "no owner to restart": (
        fleet(pods=(pod(injected=False, report=None, owner=None),)),
        "Injected",
        "False",
        "NotInjected",
        ["delete the pod"],
    ),
    "no speculation": (
        fleet(pods=(pod(report=report(**UNSUPPORTED)),)),
        "Controlled",
        "False",
        "EngineUnsupported",
        ["NoSpeculation", "--speculative-config"],
    ),
    "unreachable": (
        fleet(pods=(pod(report=None, unreachable="timed out"),)),
        "Ready",
        "False",
        "EngineUnreachable",
        ["timed out", "kubectl logs chat-0 -n team"],
    ),
    "starting": (
        fleet(pods=(pod(report=None, ready=False, unreachable="refused"),)),
        "Ready",
        "False",
        "EngineStarting",
        ["not Ready"],
    ),
    "profiling": (
        fleet(jobs=(job(),)),
        "Profiled",
        "False",
        "ProfilingInProgress",
        [f"turbospec-profile-{KEY}", "kubectl turbospec profile watch -n team"],
    ),
    "profiling holds control up": (fleet(jobs=(job(),)), "Ready", "False", "ProfilingInProgress", ["0/1"]),
    "profiling failed": (
        fleet(jobs=(job(phase=JobPhase.FAILED, failure="OOMKilled", finished_seconds=snapshot().now_seconds),)),
        "Profiled",
        "False",
        "ProfilingFailed",
        ["OOMKilled", "Attempt 2 starts at 08:00:30 UTC", "kubectl logs job/", "kubectl delete job -n team"],
    ),
    "left no result": (
        fleet(jobs=(job(phase=JobPhase.SUCCEEDED, attempt=3, finished_seconds=snapshot().now_seconds),)),
        "Profiled",
        "False",
        "ProfilingFailed",
        ["no result", "Attempt 4 starts at 08:08:00 UTC"],
    ),
    "missing": (
        fleet(policy_changes={"profile_source": ProfileSource.EXISTING}),
        "Profiled",
        "False",
        "ProfileMissing",
        [KEY, "spec.profiling.source"],
    ),
    "invalid profile": (
        fleet(profiles=(profile(latency=None, invalid="cell 3: batch is -1"),)),
        "Profiled",
        "False",
        "ProfileInvalid",
        ["cell 3: batch is -1", f"kubectl delete speculationprofile profile-{KEY}"],
    ),
    "profile with an edited key": (
        fleet(profiles=(profile(key="ffffffffffffffff"),)),
        "Profiled",
        "False",
        "ProfileInvalid",
        ["ffffffffffffffff", KEY],
    ),
    "invalid spec": (
        fleet(policy_changes={"invalid": "draftTokens must rise"}),
        "Ready",
        "False",
        "InvalidSpec",
        ["draftTokens must rise"],
    ),
    "paused": (fleet(policy_changes={"mode": Mode.PAUSED}), "Ready", "False", "Paused", ["spec.mode"]),
    "advise": (fleet(policy_changes={"mode": Mode.ADVISE}), "Ready", "False", "Advising", ["Enforce"]),
    "no K in common": (
        fleet(pods=(pod(report=report(engine_draft_tokens=(0, 2))),), policy_changes={"draft_tokens": (1, 3)}),
        "Ready",
        "False",
        "NoCommonDraftTokens",
        ["[1, 3]", "[0, 2]", "spec.speculation.draftTokens"],
    ),
    "denied": (
        fleet(pods=(), denied=("list pods in team: engines are not seen",)),
        "Ready",
        "False",
        "PermissionDenied",
        ["list pods in team"],
    ),
    "refused": (
        fleet(
            pods=(pod(report=report(applied_id="local-x"), refusal="StaleEpoch: epoch 1 is behind 7"),),
            profiles=(profile(),),
        ),
        "Controlled",
        "False",
        "ControlRefused",
        ["StaleEpoch", "last good one"],
    ),
    "pinned": (fleet(policy_changes={"draft_tokens": (3,)}), "Profiled", "Unknown", "NotNeeded", ["K=3"]),
    "profiled in part": (
        fleet(profiles=(profile(coverage="24 of 33 cells, none at batch 128, 256"),)),
        "Profiled",
        "True",
        "ProfileReady",
        [f"profile-{KEY}", "24 of 33 cells, none at batch 128, 256"],
    ),
    "profiled": (fleet(profiles=(profile(),)), "Profiled", "True", "ProfileReady", [f"profile-{KEY}"]),
}


@pytest.mark.parametrize("case", CASES)
def test_reason_and_remedy(case: str) -> None:
    """One cause, one reason word, and a message that names cause and remedy."""
    observed, kind, want_status, want_reason, want_words = CASES[case]
    effects, _ = decide(observed, FleetMemory())
    condition = conditions(effects)[kind]
    assert (condition.status, condition.reason) == (want_status, want_reason)
    for word in want_words:
        assert word in condition.message


@pytest.mark.parametrize("case", CASES)
def test_every_status_is_well_formed(case: str) -> None:
    """The three promised conditions are always there; reasons are one CamelCase word; lengths keep to the CRD."""
    effects, _ = decide(CASES[case][0], FleetMemory())
    found = status(effects)
    kinds = [condition.type for condition in found.conditions]
    assert {"Profiled", "Controlled", "Ready"} <= set(kinds)
    assert len(set(kinds)) == len(kinds)
    for condition in found.conditions:
        assert condition.status in ("True", "False", "Unknown")
        assert condition.reason.isalnum()
        assert condition.reason[0].isupper()
        assert 0 < len(condition.message) <= 1024
    assert found.observed_generation == 1


@pytest.mark.parametrize(
    "case", [name for name in CASES if name not in ("profiled", "profiled in part", "refused", "pinned")]
)
def test_nothing_but_a_waiting_document_is_pushed_where_control_fails(case: str) -> None:
    """Serving never suffers: engines that cannot be controlled get no document that decides anything."""
    effects, _ = decide(CASES[case][0], FleetMemory())
    for push in pushes(effects):
        assert push.latency is None
        assert push.table is None


def test_ready_counts_ready_pods_only() -> None:
    """A pod that starts does not make the policy unready; one that is Ready and not controlled does."""
    settled, memory = decide(fleet(profiles=(profile(),)), FleetMemory())
    document = pushes(settled)[0].document_id
    controlled = pod(report=report(engine_id="engine-chat-0", applied_id=document))
    starting = pod("chat-1", ready=False, report=None)
    base = fleet(pods=(controlled, starting), profiles=(profile(),))
    effects, memory = decide(replace(base, now_seconds=base.now_seconds + 2), memory)
    assert conditions(effects)["Ready"].reason == "AllEnginesControlled"
    lost = replace(starting, ready=True, unreachable="refused")
    effects, _ = decide(replace(base, pods=(controlled, lost), now_seconds=base.now_seconds + 4), memory)
    assert conditions(effects)["Ready"].reason == "EngineUnreachable"
    assert "1/2" in conditions(effects)["Ready"].message
    assert status(effects).controlled == 1
    assert status(effects).pods == 2


def test_lost_answer_or_two_change_nothing() -> None:
    """An engine that was controlled and misses one round is still controlled; after 10 s it is unreachable."""
    settled, memory = decide(fleet(profiles=(profile(),)), FleetMemory())
    document = pushes(settled)[0].document_id
    answering = fleet(pods=(pod(report=report(engine_id="engine-chat-0", applied_id=document)),), profiles=(profile(),))
    _, memory = decide(replace(answering, now_seconds=answering.now_seconds + 2), memory)
    silent = fleet(pods=(pod(report=None, unreachable="timed out"),), profiles=(profile(),))
    for seconds in (4, 6, 8):
        effects, memory = decide(replace(silent, now_seconds=silent.now_seconds + seconds), memory)
        assert not effects
    effects, _ = decide(replace(silent, now_seconds=silent.now_seconds + 14), memory)
    assert conditions(effects)["Ready"].reason == "EngineUnreachable"


def test_rows_are_bounded_and_show_what_is_wrong_first() -> None:
    """100 engines, 64 rows; the ones that are not controlled are among them."""
    pods = (*(pod(f"chat-{n:03d}") for n in range(99)), pod("chat-zzz", report=None, unreachable="refused"))
    settled, memory = decide(fleet(pods=pods, profiles=(profile(),)), FleetMemory())
    ids = {push.engine.pod: push.document_id for push in pushes(settled)}
    applied = tuple(
        replace(view, report=replace(view.report, applied_id=ids[view.name])) if view.report else view for view in pods
    )
    later = fleet(pods=applied, profiles=(profile(),))
    effects, _ = decide(replace(later, now_seconds=later.now_seconds + 2), memory)
    found = status(effects)
    assert len(found.engines) == 64
    assert "chat-zzz" in [row.pod for row in found.engines]
    assert (found.pods, found.controlled) == (100, 99)
    assert [row.pod for row in found.engines] == sorted(row.pod for row in found.engines)


@pytest.mark.parametrize(
    ("in_use", "want"), [((), None), ((None,), None), ((3,), "3"), ((3, 3), "3"), ((0, 3, 1), "0-3"), ((None, 7), "7")]
)
def test_draft_tokens_in_use_are_one_value_or_a_range(in_use: tuple[int | None, ...], want: str | None) -> None:
    """The printer column K; unknown is not 0."""
    pods = tuple(pod(f"chat-{n}", report=report(engine_id=str(n), draft_tokens=k)) for n, k in enumerate(in_use))
    effects, _ = decide(fleet(pods=pods), FleetMemory())
    assert status(effects).draft_tokens == want


def test_row_keeps_unknown_apart_from_zero() -> None:
    """Acceptance that nobody has measured is None in the row, not 0%."""
    known = pod("chat-0", report=report(acceptance=(0.0,), acceptance_samples=(50.0,)))
    unknown = pod("chat-1", report=report(engine_id="engine-2"))
    effects, _ = decide(fleet(pods=(known, unknown)), FleetMemory())
    assert [row.acceptance_percent for row in status(effects).engines] == [0, None]


def test_permissions_of_other_namespaces_are_not_this_policys_business() -> None:
    """A policy names what is denied in its own namespace or everywhere, not in another policy's."""
    denied = ("create jobs in team: nothing is profiled", "create jobs in other: nothing is profiled")
    both = snapshot(policies=(policy(), policy("far", namespace="other")), pods=(), denied=denied)
    effects, _ = decide(both, FleetMemory())
    assert "in team" in conditions(effects)["Permitted"].message
    assert "in other" not in conditions(effects)["Permitted"].message
