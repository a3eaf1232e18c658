"""What is read from the cluster becomes views; bad content becomes a reason that names the field, never an error."""

from typing import Any

import pytest

from tests.fleet.builders import MODEL
from tests.operator.samples import IDENTITY, KEY, engine_pod, engine_state, policy, profile_result
from turbospec.control.draft_length import Reason
from turbospec.control.objective import Objective
from turbospec.control.served_cells import ServedCell
from turbospec.fleet.demand import RequestCounts
from turbospec.fleet.effects import HarvestProfile, TableRange, WriteServedProfile
from turbospec.fleet.profiles import SERVED_DOUBT
from turbospec.fleet.snapshot import JobPhase, Mode
from turbospec.profiling.codec import encode, encode_failure
from turbospec.wire.engine_state import EngineState, ServedCells
from turbospec_operator import engine_views, manifests, views
from turbospec_operator.job_views import Measured, job_view


def stored(raw: dict[str, Any]) -> dict[str, Any]:
    """As the API server returns it."""
    raw["metadata"] |= {"uid": "uid-1", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z"}
    return raw


def profile(coverage: str | None = None) -> dict[str, Any]:
    """The profile that the operator itself would write."""
    effect = HarvestProfile("shop", "turbospec-profile-x", f"profile-{KEY}")
    result = profile_result().model_copy(update={"coverage": coverage})
    return manifests.profile(effect, Measured(result, "node-1", "vllm:1"), 1_700_000_000.0)


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    """A profiling Job in some state."""
    return {
        "metadata": {
            "namespace": "shop",
            "name": "turbospec-profile-x",
            "uid": "job-1",
            "labels": {"turbospec.io/profiling-key": KEY},
            "annotations": {"turbospec.io/attempt": "2"},
        },
        "status": {"conditions": list(conditions)},
    }


COMPLETE = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}
FAILED = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}


def ended(message: str, exit_code: int = 0) -> dict[str, Any]:
    """The Job's pod, ended with this termination message."""
    return {
        "metadata": {"namespace": "shop", "name": "x-1", "creationTimestamp": "2026-01-02T03:00:00Z"},
        "spec": {"nodeName": "node-1", "containers": [{"image": "vllm:1"}]},
        "status": {"containerStatuses": [{"state": {"terminated": {"exitCode": exit_code, "message": message}}}]},
    }


def test_a_policy_is_read_in_the_fleets_terms() -> None:
    """Spec, identity, age, and what its status says now."""
    raw = stored(policy("shop"))
    raw["status"] = {"conditions": [{"type": "Ready", "status": "True", "reason": "AllEnginesControlled"}]}
    view = views.policy_view(raw)
    assert (view.namespace, view.name, view.uid, view.generation) == ("shop", "chat", "uid-1", 3)
    assert view.created_seconds == 1767323045.0
    assert (view.match_labels, view.draft_tokens, view.mode) == ((("app", "chat"),), (0, 1, 3, 5), Mode.ENFORCE)
    assert view.reported == (("Ready", "AllEnginesControlled"),)
    assert view.invalid is None


@pytest.mark.parametrize(("text", "wanted"), [("1h", 3600), ("30d", 2592000), ("8w", 4838400)])
def test_a_maximum_age_is_read_in_seconds(text: str, wanted: float) -> None:
    """Without one, profiles never grow too old."""
    view = views.policy_view(stored(policy("shop", profiling={"maxAge": text})))
    assert (view.max_age_seconds, view.invalid) == (wanted, None)
    assert views.policy_view(stored(policy("shop"))).max_age_seconds is None


def test_an_objective_is_read_in_seconds() -> None:
    """Without one there is no ceiling."""
    ceilings = {"timePerOutputToken": {"milliseconds": 50, "percentile": 95}}
    view = views.policy_view(stored(policy("shop", objective=ceilings)))
    assert view.objective == Objective(time_per_output_token_seconds=0.05, time_per_output_token_percentile=95)
    assert views.policy_view(stored(policy("shop"))).objective.empty


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, "spec.selector"),
        ({"selector": {"matchLabels": {"app": "chat"}}, "mode": "Sometimes"}, "spec.mode"),
        ({"selector": {"matchLabels": {"app": "chat"}}, "speculation": {"draftTokens": ["x"]}}, "draftTokens"),
        ({"selector": {"matchLabels": {"app": "chat"}}, "newField": 1}, "newField"),
        ({"selector": {"matchLabels": {"app": "chat"}}, "profiling": {"maxAge": "30"}}, "profiling.maxAge"),
        (
            {"selector": {"matchLabels": {"app": "chat"}}, "objective": {"timeToFirstToken": {"milliseconds": 0}}},
            "spec.objective.timeToFirstToken.milliseconds",
        ),
    ],
)
def test_an_unreadable_policy_governs_nothing_and_names_the_field(spec: dict[str, Any], named: str) -> None:
    """It selects no pod, whatever else it says."""
    raw = stored(policy("shop"))
    raw["spec"] = spec
    view = views.policy_view(raw)
    assert view.invalid is not None
    assert named in view.invalid
    assert "\n" not in view.invalid
    assert view.match_labels == ()


def test_a_harvested_profile_is_read_back_as_the_model_that_was_measured() -> None:
    """What the operator writes, it can read."""
    view = views.profile_view(profile())
    assert view.identity == engine_views.engine_report(EngineState.model_validate(engine_state())).identity
    assert view.identity is not None
    assert (view.identity.engine_version, view.identity.engine_arguments) == ("0.32.0", (("dtype", "bfloat16"),))
    assert (view.name, view.key, view.invalid) == (f"profile-{KEY}", KEY, None)
    assert view.latency is not None
    assert view.latency.step_seconds(decodes=4, draft_tokens=3, kv_tokens=1024) == pytest.approx(0.00532)


@pytest.mark.parametrize(
    ("measured_at", "wanted"), [("2026-01-02T03:04:05Z", 1767323045.0), (None, 1767225600.0), ("soon", 1767225600.0)]
)
def test_the_age_of_a_profile_counts_from_its_measurement_else_from_its_creation(
    measured_at: str | None, wanted: float
) -> None:
    """A hand-written one says nothing of when it was measured."""
    raw = profile()
    raw["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    raw["spec"]["provenance"]["measuredAt"] = measured_at
    assert views.profile_view(raw).measured_seconds == wanted


@pytest.mark.parametrize("coverage", ["24 of 33 cells, none at batch 128, 256", None])
def test_a_profile_says_what_of_its_grid_was_measured(coverage: str | None) -> None:
    """From the result through the resource to the policy's condition; older results say nothing."""
    raw = profile(coverage)
    assert raw["spec"]["provenance"].get("coverage") == coverage
    assert views.profile_view(raw).coverage == coverage


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda spec: spec["cells"][0].update(microseconds=0), "cells.0.microseconds"),
        (lambda spec: spec.update(cells=[]), "cells"),
        (lambda spec: spec["fit"].update(perStep=-1), "fit.perStep"),
        (lambda spec: spec["identity"].update(hardware="another"), "spec.identity"),
        (lambda spec: spec.update(cells=[each for each in spec["cells"] if each["draftTokens"] == 0]), "draftTokens"),
        (lambda spec: spec.pop("identity"), "identity"),
    ],
)
def test_a_profile_edited_to_nonsense_is_refused_by_field(edit: Any, named: str) -> None:
    """It keeps its key, so that nothing measures anew behind the back of whoever edited it."""
    raw = profile()
    edit(raw["spec"])
    view = views.profile_view(raw)
    assert view.latency is None
    assert view.key == KEY
    assert view.invalid is not None
    assert named in view.invalid


@pytest.mark.parametrize(
    ("owner", "hash_label", "wanted"),
    [
        ({"kind": "ReplicaSet", "name": "chat-5d4", "controller": True}, "5d4", "deployment/chat"),
        ({"kind": "ReplicaSet", "name": "chat-5d4", "controller": True}, None, None),
        ({"kind": "StatefulSet", "name": "chat", "controller": True}, None, "statefulset/chat"),
        ({"kind": "DaemonSet", "name": "chat", "controller": True}, None, "daemonset/chat"),
        ({"kind": "StatefulSet", "name": "chat"}, None, None),
        ({"kind": "Job", "name": "chat", "controller": True}, None, None),
    ],
)
def test_the_owner_is_what_rollout_restart_takes(
    owner: dict[str, Any], hash_label: str | None, wanted: str | None
) -> None:
    """A command that we print must work."""
    pod = stored(engine_pod("shop", "chat-1"))
    pod["metadata"]["ownerReferences"] = [owner]
    if hash_label:
        pod["metadata"]["labels"]["pod-template-hash"] = hash_label
    assert views.pod_view(pod, None, None).owner == wanted


@pytest.mark.parametrize(
    ("phase", "labels", "wanted"),
    [
        ("Running", {}, True),
        ("Pending", {}, True),
        (None, {}, True),
        ("Failed", {}, False),
        ("Succeeded", {}, False),
        ("Running", {"turbospec.io/profiling-key": KEY}, False),
    ],
)
def test_ended_and_profiling_pods_are_no_engines(phase: str | None, labels: dict[str, str], wanted: bool) -> None:
    """Evicted pods linger for days."""
    pod = engine_pod("shop", "chat-1")
    pod["metadata"]["labels"] |= labels
    pod["status"] = {"phase": phase}
    assert views.is_serving(pod) is wanted


@pytest.mark.parametrize(("decodes", "wanted"), [(0, 5), (1, 5), (4, 5), (5, 1), (16, 1), (17, None)])
def test_k_is_what_the_table_in_force_says_of_the_last_batch(decodes: int, wanted: int | None) -> None:
    """An idle engine would run its K for one request; a batch outside the table is unknown, not 0."""
    report = engine_views.engine_report(EngineState.model_validate(engine_state(decodes=decodes)))
    assert report.draft_tokens == wanted


def test_a_report_carries_counts_acceptance_and_limits() -> None:
    """Nothing applied is None, not an empty id."""
    report = engine_views.engine_report(EngineState.model_validate(engine_state()))
    assert (report.profile_key, report.max_num_seqs, report.engine_draft_tokens) == (KEY, 16, (0, 1, 3, 5))
    assert (report.applied_id, report.applied_epoch, report.applied_overlay) == (None, None, False)
    assert report.counts.accepted == (80, 70, 60, 50, 40)
    assert (report.acceptance, report.draft_yield, report.acceptance_samples) == ((0.8,), (1.0,), (200.0,))


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        (None, None),
        (Reason.UNATTAINABLE, True),
        (Reason.HIGHEST_GOODPUT, False),
        (Reason.HYSTERESIS, False),
        (Reason.NO_PROFILE, False),
        (Reason.PROBE, None),
        (Reason.TABLE, None),
        (Reason.ONLY_ALLOWED, None),
        (Reason.STARTUP_TABLE, None),
        (Reason.NO_ACCEPTANCE, None),
        (Reason.NO_LATENCY_MODEL, None),
        ("OfALaterVersion", None),
    ],
)
def test_an_engine_that_did_not_predict_says_nothing_of_its_objective(reason: str | None, wanted: bool | None) -> None:
    """Unknown is neither met nor missed."""
    state = engine_state()
    if reason is not None:
        state["decision"] = {"draftTokens": 1, "reason": str(reason)}
    assert engine_views.engine_report(EngineState.model_validate(state)).unattainable is wanted


def test_a_job_with_a_sound_result_is_harvestable() -> None:
    """And its result comes with the node and image it was measured on."""
    view, measured = job_view(job(COMPLETE), [ended(encode(profile_result()))])
    assert (view.phase, view.harvestable, view.attempt, view.key) == (JobPhase.SUCCEEDED, True, 2, KEY)
    assert view.finished_seconds == 1767323045.0
    assert measured == Measured(profile_result(), "node-1", "vllm:1")


OTHER = profile_result(IDENTITY.model_copy(update={"hardware": "another machine"}))


@pytest.mark.parametrize(
    ("conditions", "pods", "phase", "named"),
    [
        ((), [], JobPhase.RUNNING, ""),
        (({**COMPLETE, "status": "False"},), [], JobPhase.RUNNING, ""),
        ((COMPLETE,), [ended("")], JobPhase.FAILED, "without a word"),
        ((COMPLETE,), [ended(encode(profile_result())[:-9])], JobPhase.FAILED, "truncated"),
        ((COMPLETE,), [], JobPhase.FAILED, "gone"),
        ((COMPLETE,), [ended(encode(OTHER))], JobPhase.FAILED, "another engine"),
        ((FAILED,), [], JobPhase.FAILED, "DeadlineExceeded"),
        ((FAILED,), [ended(encode_failure("no memory"), 1)], JobPhase.FAILED, "no memory"),
        ((COMPLETE,), None, JobPhase.SUCCEEDED, ""),
    ],
)
def test_a_job_without_a_sound_result_is_not_harvestable_and_says_why(
    conditions: tuple[dict[str, str], ...], pods: list[dict[str, Any]] | None, phase: JobPhase, named: str
) -> None:
    """Done without a usable result counts as failed; pods that may not be listed are unknown, not gone."""
    view, measured = job_view(job(*conditions), pods)
    assert (view.phase, view.harvestable, measured) == (phase, False, None)
    assert named in view.failure
    assert bool(view.failure) == (phase is JobPhase.FAILED)


def test_measured_regions_of_step_times_are_read() -> None:
    """Older runtimes say nothing of them."""
    assert engine_views.engine_report(EngineState.model_validate(engine_state())).regions == ()
    state = {**engine_state(), "stepTimeRegions": [{"batch": 4, "ratio": 1.9, "steps": 96, "off": True, "new": 1}]}
    (region,) = engine_views.engine_report(EngineState.model_validate(state)).regions
    assert (region.batch, region.ratio, region.steps, region.off) == (4, 1.9, 96, True)


def test_cells_of_an_engine_are_read_and_impossible_ones_left_out() -> None:
    """By the names of the fields, so that newer runtimes may add some."""
    names = ["eager", "batch", "context_tokens", "draft_tokens", "drafted_per_request", "seconds", "samples", "new"]
    good = [False, 4.5, 300.0, 3, 2.5, 0.02, 30, 1]
    rows = [good, *([*good[:i], value, *good[i + 1 :]] for i, value in ((1, 0), (3, 65), (4, 4.0), (5, 0.0), (6, 0)))]
    (cell,) = engine_views.served_cells(ServedCells(fields=names, rows=rows))
    assert cell == ServedCell(4.5, 300.0, 3, 2.5, 0.02, 30, eager=False)
    with pytest.raises(ValueError, match="seconds"):
        engine_views.served_cells(ServedCells(fields=[name for name in names if name != "seconds"], rows=[]))


def test_a_grown_profile_is_marked_and_read_back() -> None:
    """Key and identity are the engine's, the source is serving."""
    identity = engine_views.engine_report(EngineState.model_validate(engine_state())).identity
    assert identity is not None
    effect = WriteServedProfile("shop", f"serving-{KEY}", KEY, "chat-0", MODEL, "grown while serving: 4 points")
    raw = manifests.served_profile(effect, identity, 1_700_000_000.0)
    assert raw["spec"]["provenance"]["source"] == "Serving"
    assert raw["spec"]["identity"] == IDENTITY.model_dump(by_alias=True)
    view = views.profile_view(stored(raw))
    assert (view.key, view.served, view.invalid) == (KEY, True, None)
    assert (view.coverage, view.measured_seconds) == ("grown while serving: 4 points", 1_700_000_000.0)
    assert view.latency is not None
    assert view.latency.doubt == SERVED_DOUBT
    measured = views.profile_view(stored(profile()))
    assert measured.latency is not None
    assert (measured.served, measured.latency.doubt) == (False, 0.0)


def test_requests_that_an_engine_counts_are_in_its_report_and_others_are_unknown() -> None:
    """An engine of an older runtime does not say; that is not nought."""
    counted = {
        "arrived": 9,
        "admitted": 8,
        "promptTokens": 800,
        "prefillTokens": 700,
        "finished": 6,
        "outputTokens": 60,
    }
    known = engine_views.engine_report(EngineState.model_validate({**engine_state(), "requests": counted}))
    assert known.requests == RequestCounts(9, 8, 800, 700, 6, 60)
    assert (known.kv_cache_tokens, known.max_num_batched_tokens) == (100_000, 2048)
    assert known.table == (TableRange(1, 4, 5), TableRange(5, 16, 1))
    assert engine_views.engine_report(EngineState.model_validate(engine_state())).requests is None


@pytest.mark.parametrize(
    ("owners", "controller"),
    [
        ([], None),
        ([{"kind": "LeaderWorkerSet", "name": "chat", "controller": True}], "leaderworkerset/chat"),
        (
            [{"kind": "Node", "name": "n"}, {"kind": "ReplicaSet", "name": "chat-1", "controller": True}],
            "replicaset/chat-1",
        ),
    ],
)
def test_the_controlling_owner_is_named_whatever_its_kind(owners: list[dict[str, Any]], controller: str | None) -> None:
    raw = stored(engine_pod("shop", "chat-1"))
    raw["metadata"]["ownerReferences"] = owners
    assert views.pod_view(raw, None, None).controller == controller


@pytest.mark.parametrize(
    ("status", "reason", "told"),
    [("False", "Unschedulable", "0/1 nodes are available."), ("False", "SchedulingGated", ""), ("True", None, "")],
)
def test_why_a_pod_has_no_node_is_the_schedulers_word(status: str, reason: str | None, told: str) -> None:
    """A pod that is held back by a gate was never tried."""
    raw = stored(engine_pod("shop", "chat-1"))
    condition = {"type": "PodScheduled", "status": status, "reason": reason, "message": "0/1 nodes are available."}
    raw["status"] = {"conditions": [condition]}
    assert views.pod_view(raw, None, None).no_node == told
