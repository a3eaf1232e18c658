"""For every reason that TurboSpec gives: what to put into a cluster so that it is given."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.advise.builders import model
from tests.advise.builders import window as advice_window
from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.permissions import user_in, without
from tests.operator.recorded_windows import Clock, Recorded
from tests.operator.samples import IDENTITY, engine_pod, policy, profile_result
from tests.operator.test_autoscalers import deployment, hpa
from tests.operator.test_crash_loop import crash
from tests.operator.test_served_cells import answer
from tests.support.apiserver import ApiServer
from turbospec.advise.series import Window
from turbospec.fleet.effects import HarvestProfile
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import from_model
from turbospec_operator import manifests
from turbospec_operator.advisor import Advisor
from turbospec_operator.apply import Applier
from turbospec_operator.cluster import PODS, POLICIES, PROFILES, RESOURCE_QUOTAS, Cluster
from turbospec_operator.engines import EngineClient
from turbospec_operator.fleet_loop import FleetLoop
from turbospec_operator.job_views import Measured
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observer
from turbospec_operator.profiling_jobs import Installation

ROUND_SECONDS = 11.0
"""Longer than lists are kept."""
NEWER = IDENTITY.model_copy(update={"engine_version": "0.33.0"})
ELSEWHERE_HARDWARE = IDENTITY.model_copy(update={"hardware": "gpu / Testium X / 80 GiB / 1"})


@dataclass
class Fleet:
    """One namespace, and the operator's own rounds over it at a time that the test chooses."""

    api: ApiServer
    admin: Cluster
    namespace: str
    clock: Clock
    stack: AsyncExitStack
    advisor: Advisor = field(default_factory=lambda: Advisor(None))
    lacking: tuple[str, str] | None = None
    loop: FleetLoop | None = None

    async def policy(self, name: str = "chat", **spec: Any) -> None:
        """For pods with label app=NAME."""
        await self.admin.create(POLICIES, self.namespace, policy(self.namespace, name, **spec))

    async def engine(self, name: str = "chat-1", identity: ProfileIdentity = IDENTITY) -> EngineStandIn:
        """A Ready pod whose engine answers."""
        engine = await self.stack.enter_async_context(EngineStandIn(identity=identity))
        await shop.add_engine(self.admin, self.namespace, name, engine)
        return engine

    async def profile(self, identity: ProfileIdentity = IDENTITY, **changes: Any) -> None:
        """A measured one; ``changes`` of its spec, ``name`` and ``measured`` apart."""
        name = changes.pop("name", f"profile-{identity.key()}")
        measured_at = changes.pop("measured", self.clock.now - 7200.0)
        effect = HarvestProfile(self.namespace, "turbospec-profile-x", name)
        made = manifests.profile(effect, Measured(profile_result(identity), "node-1", "vllm:1"), measured_at)
        made["spec"] |= changes
        await self.admin.create(PROFILES, self.namespace, made)

    async def rounds(self, count: int = 3, seconds: float = ROUND_SECONDS) -> None:
        """The operator looks, decides and applies so many times."""
        loop = self.loop or await self._started()
        for _ in range(count):
            self.clock.now += seconds
            loop.wake()
            await loop._guarded_round()
            await self.advisor.settled()
            assert loop._problem is None, loop._problem

    async def _started(self) -> FleetLoop:
        engines = await self.stack.enter_async_context(EngineClient())
        cluster = self.admin
        if self.lacking is not None:
            user = user_in(self.api, self.namespace, without(*self.lacking))
            cluster = await self.stack.enter_async_context(await Cluster.connect(user))
        observer = Observer(cluster, engines, self.namespace, 9476)
        metrics = Metrics()
        applier = Applier(cluster, engines, observer, metrics, Installation("turbospec:operator", True, None))
        self.loop = FleetLoop(
            cluster,
            observer,
            applier,
            metrics,
            namespace=self.namespace,
            epoch=1,
            interval_seconds=1.0,
            advisor=self.advisor,
        )
        return self.loop


@dataclass(frozen=True, slots=True)
class Case:
    """What is done with a fleet, and the reasons that it is given for it."""

    reasons: frozenset[str]
    done: Callable[[Fleet], Awaitable[None]]


CASES: dict[str, Case] = {}


def gives(*reasons: str) -> Callable[[Callable[[Fleet], Awaitable[None]]], Callable[[Fleet], Awaitable[None]]]:
    """Registers a case under its function's name."""

    def register(done: Callable[[Fleet], Awaitable[None]]) -> Callable[[Fleet], Awaitable[None]]:
        CASES[getattr(done, "__name__", "")] = Case(frozenset(reasons), done)
        return done

    return register


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
    engine.cells = answer()
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
    engine.cells = answer()
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


@gives("DistortedMetric", "SpeculationNeutral", "MetricNotRecognised", "SeveralAutoscalers", "AutoscalerUnrecognised")
async def autoscalers(fleet: Fleet) -> None:
    where = fleet.namespace
    metrics: Mapping[str, tuple[str, ...]] = {
        "distorted": ("vllm_num_requests_running",),
        "neutral": ("turbospec_offered_load_ratio",),
        "unknown": ("mystery",),
        "several": ("turbospec_offered_load_ratio", "mystery"),
        "foreign": (),
    }
    for name, scaled_on in metrics.items():
        pod = engine_pod(where, f"{name}-1", app=name)
        if not scaled_on:
            pod["metadata"]["labels"]["serving.knative.dev/revision"] = name
        await fleet.admin.create(PODS, where, pod)
        await fleet.policy(name)
        scaled = deployment(where)
        scaled["metadata"]["name"], labels = name, {"app": name}
        scaled["spec"] |= {"selector": {"matchLabels": labels}}
        scaled["spec"]["template"] = {**scaled["spec"]["template"], "metadata": {"labels": labels}}
        fleet.api.post(f"/apis/apps/v1/namespaces/{where}/deployments", scaled)
        for number, metric in enumerate(scaled_on):
            scaler = hpa(where, metric, name=name)
            scaler["metadata"]["name"] = f"{name}-{number}"
            fleet.api.post(f"/apis/autoscaling/v2/namespaces/{where}/horizontalpodautoscalers", scaler)
    await fleet.rounds(1)


ELSEWHERE: Mapping[str, str] = {
    "InvalidSpec": "test_each_reason.test_a_spec_of_a_newer_definition_is_refused_in_words",
}
"""Reasons that take more than objects in a namespace, and the test that produces each."""
