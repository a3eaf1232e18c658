"""For every reason that TurboSpec gives: what to put into a cluster so that it is given."""

from collections.abc import Mapping
from typing import Any

from tests.advise.builders import model
from tests.advise.builders import window as advice_window
from tests.operator import (
    reason_cases_scaling,  # noqa: F401 - registers its cases
    reason_cases_variants,  # noqa: F401 - likewise
    reason_cases_worth,  # noqa: F401 - registers its cases
    shop,
)
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.reason_fleet import CASES, Case, Fleet, gives
from tests.operator.recorded_windows import Recorded
from tests.operator.samples import IDENTITY, cells_answer, engine_pod
from tests.operator.test_crash_loop import crash
from turbospec.advise.series import Window
from turbospec.wire.latency import from_model
from turbospec_operator.advisor import Advisor
from turbospec_operator.cluster import PODS, RESOURCE_QUOTAS

__all__ = ["CASES", "ELSEWHERE"]

NEWER = IDENTITY.model_copy(update={"engine_version": "0.33.0"})
ELSEWHERE_HARDWARE = IDENTITY.model_copy(update={"hardware": "gpu / Testium X / 80 GiB / 1"})


@gives("Pending", "Controlled", "AllEnginesControlled", "Injected", "ProfileReady", "InUse", "Fresh")
async def all_is_well(fleet: Fleet) -> None:
    await fleet.profile()
    await fleet.engine()
    await fleet.policy()
    await fleet.rounds()


@gives("NotJudged", "Attainable", "Unattainable")
async def an_objective(fleet: Fleet) -> None:
    await fleet.profile()
    engine = await fleet.engine()
    await fleet.policy(objective={"timePerOutputToken": {"milliseconds": 50, "percentile": 95}})
    await fleet.rounds(3)
    for reason in ("HighestGoodput", "Unattainable"):
        engine.decision = {"draftTokens": 1, "reason": reason}
        await fleet.rounds(5)


@gives("Paused", "ProfilingPending")
async def paused(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy(mode="Paused")
    await fleet.rounds(2)


@gives("Advising", "GainUnknown")
async def advice_without_metrics(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy(mode="Advise")
    await fleet.rounds(2)


def _advised(reason: str, window: Window, **speculation: Any) -> None:
    """A case with a Prometheus that has one window of its pod."""

    async def done(fleet: Fleet) -> None:
        fleet.advisor = Advisor(Recorded(window, namespace=fleet.namespace, pod="chat-1"))
        document = from_model(model()).model_dump(by_alias=True)
        await fleet.profile(cells=document["cells"], fit=document["fit"])
        await fleet.engine()
        await fleet.policy(mode="Advise", speculation={"draftTokens": [0, 1, 3, 7], **speculation})
        await fleet.rounds(2)

    CASES[f"advice_{reason}"] = Case(frozenset({reason}), done)


LONG_DRAFTS = advice_window(k=7, batch=48.0, acceptance=(0.3,) * 7)
_advised("GainExpected", LONG_DRAFTS)
_advised("NoGainExpected", LONG_DRAFTS, draftTokens=[7])
_advised("LossExpected", advice_window(k=1, batch=48.0, acceptance=(0.3,) * 7), draftTokens=[7])
_advised("GainUnclear", advice_window(k=1, batch=8.0, acceptance=(0.6,) * 7))


@gives("ConflictingPolicy")
async def two_policies_select_the_same_pods(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy()
    await fleet.policy("other", selector={"matchLabels": {"app": "chat"}})
    await fleet.rounds(1)


@gives("ControlRefused")
async def an_engine_refuses(fleet: Fleet) -> None:
    await fleet.profile()
    engine = await fleet.engine()
    engine.refusal = 422, {"code": "Invalid", "message": "no"}
    await fleet.policy()
    await fleet.rounds(3)


@gives("EngineStarting")
async def an_engine_starts(fleet: Fleet) -> None:
    await fleet.admin.create(PODS, fleet.namespace, engine_pod(fleet.namespace, "chat-1"))
    await fleet.policy()
    await fleet.rounds(1)


@gives("EngineUnreachable")
async def an_engine_does_not_answer(fleet: Fleet) -> None:
    async with EngineStandIn() as engine:
        await shop.add_engine(fleet.admin, fleet.namespace, "chat-1", engine)
    await fleet.policy()
    await fleet.rounds(1)


@gives("EngineUnsupported")
async def an_engine_cannot_be_steered(fleet: Fleet) -> None:
    engine = await fleet.engine()
    engine.more = {"unsupported": {"code": "DataParallel", "message": "ranks must agree on K"}}
    await fleet.policy()
    await fleet.rounds(1)


@gives("InjectionStopped")
async def pods_crash(fleet: Fleet) -> None:
    for name in ("chat-1", "chat-2"):
        await crash(fleet.admin, fleet.namespace, name, "0" * 16)
    await fleet.policy()
    await fleet.rounds(1)


@gives("NotInjected")
async def a_pod_without_the_runtime(fleet: Fleet) -> None:
    pod = engine_pod(fleet.namespace, "chat-1")
    del pod["metadata"]["annotations"]
    await fleet.admin.create(PODS, fleet.namespace, pod)
    await fleet.policy()
    await fleet.rounds(1)


@gives("NoCommonDraftTokens")
async def no_common_draft_tokens(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy(speculation={"draftTokens": [2, 4]})
    await fleet.rounds(1)


@gives("NoPodsMatched")
async def no_pods(fleet: Fleet) -> None:
    await fleet.policy()
    await fleet.rounds(1)


@gives("NotNeeded")
async def a_pinned_k(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy(speculation={"draftTokens": [5]})
    await fleet.rounds(2)


@gives("ProfilingInProgress", "ProfilingFailed")
async def a_job_that_fails(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy()
    await fleet.rounds(2)
    await shop.finish_job(fleet.admin, fleet.namespace, "out of memory", exit_code=1)
    await fleet.rounds(1, seconds=1.0)


@gives("ProfilingBlocked")
async def a_quota_without_room(fleet: Fleet) -> None:
    hard = {"count/jobs.batch": "1"}
    metadata = {"name": "small", "namespace": fleet.namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}}
    await fleet.admin.create(RESOURCE_QUOTAS, fleet.namespace, quota)
    full = {"status": {"hard": hard, "used": hard}}
    await fleet.admin.patch_status(RESOURCE_QUOTAS, fleet.namespace, "small", full)
    await fleet.engine()
    await fleet.policy()
    await fleet.rounds(2)


@gives("JobsForbidden", "ProfileGrownWithoutJob")
async def jobs_are_forbidden(fleet: Fleet) -> None:
    fleet.lacking = ("create", "jobs")
    engine = await fleet.engine()
    await fleet.policy()
    await fleet.rounds(2)
    engine.cells = cells_answer()
    await fleet.rounds(9)


@gives("PermissionDenied")
async def a_permission_is_missing(fleet: Fleet) -> None:
    fleet.lacking = ("list", "jobs")
    await fleet.engine()
    await fleet.policy()
    await fleet.rounds(1)


@gives("ProfileMissing")
async def nobody_measures(fleet: Fleet) -> None:
    await fleet.engine()
    await fleet.policy(profiling={"source": "Existing"})
    await fleet.rounds(2)


@gives("ProfileGrowing", "Grown")
async def a_profile_grows(fleet: Fleet) -> None:
    engine = await fleet.engine()
    await fleet.policy(profiling={"source": "Serving"})
    await fleet.rounds(2)
    engine.cells = cells_answer()
    await fleet.rounds(9)


@gives("ProfileProvisional", "StandsIn")
async def a_profile_stands_in(fleet: Fleet) -> None:
    await fleet.profile()
    await fleet.engine(identity=NEWER)
    await fleet.policy()
    await fleet.rounds(3)


@gives("ProfileInvalid", "Refused")
async def a_profile_is_wrong(fleet: Fleet) -> None:
    await fleet.profile(key="f" * 16)
    await fleet.engine()
    await fleet.policy()
    await fleet.rounds(2)


@gives("ProfileStale", "Stale")
async def a_profile_is_old(fleet: Fleet) -> None:
    await fleet.profile()
    await fleet.engine()
    await fleet.policy(profiling={"maxAge": "1h"})
    await fleet.rounds(3)


@gives("Superseded", "NoEngines")
async def profiles_that_nobody_takes(fleet: Fleet) -> None:
    await fleet.profile()
    await fleet.profile(name="mine")
    await fleet.profile(ELSEWHERE_HARDWARE)
    await fleet.engine()
    await fleet.policy()
    await fleet.rounds(2)


def _measures(ratio: float) -> dict[str, Any]:
    """Step times so many times those of the profile."""
    return {"stepTimeRegions": [{"batch": 1, "ratio": ratio, "steps": 1000, "off": ratio != 1.0}]}


@gives("StepTimesAgree", "StepTimesInDoubt", "ProfileDrifted", "Drifted")
async def a_profile_drifts(fleet: Fleet) -> None:
    await fleet.profile()
    engines = [await fleet.engine(f"chat-{number}") for number in range(2)]
    await fleet.policy(profiling={"source": "Existing"})
    for ratio, rounds in ((1.0, 3), (2.0, 5)):
        for engine in engines:
            engine.more = _measures(ratio)
        await fleet.rounds(rounds)


@gives("OutlierStepTimes")
async def one_engine_is_slow(fleet: Fleet) -> None:
    await fleet.profile()
    for number, ratio in enumerate((1.0, 1.0, 2.0)):
        (await fleet.engine(f"chat-{number}")).more = _measures(ratio)
    await fleet.policy(profiling={"source": "Existing"})
    await fleet.rounds(7)


ELSEWHERE: Mapping[str, str] = {
    "StartsPlain": "test_startup_variant.test_the_webhook_starts_pods_as_the_fleet_loop_has_decided",
    "StartsSpeculative": "test_startup_variant.test_the_webhook_starts_pods_as_the_fleet_loop_has_decided",
    "InvalidSpec": "test_each_reason.test_a_spec_of_a_newer_definition_is_refused_in_words",
}
"""Reasons that take more than objects in a namespace, and the test that produces each."""
