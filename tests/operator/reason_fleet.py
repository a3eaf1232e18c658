"""A fleet that tests put into the conditions for which TurboSpec has words, and the operator's rounds over it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.permissions import user_in, without
from tests.operator.recorded_windows import Clock
from tests.operator.samples import IDENTITY, policy, profile_result
from tests.support.apiserver import ApiServer
from turbospec.fleet.effects import HarvestProfile
from turbospec.wire.identity import ProfileIdentity
from turbospec_operator import manifests
from turbospec_operator.advisor import Advisor
from turbospec_operator.apply import Applier
from turbospec_operator.cluster import POLICIES, PROFILES, Cluster
from turbospec_operator.engines import EngineClient
from turbospec_operator.fleet_loop import FleetLoop
from turbospec_operator.job_views import Measured
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observer
from turbospec_operator.profiling_jobs import Installation
from turbospec_operator.prometheus_demand import PrometheusDemand
from turbospec_operator.prometheus_history import PrometheusHistory

ROUND_SECONDS = 11.0
"""Longer than lists are kept."""


@dataclass
class Fleet:
    """One namespace, and the operator's own rounds over it at a time that the test chooses."""

    api: ApiServer
    admin: Cluster
    namespace: str
    clock: Clock
    stack: AsyncExitStack
    advisor: Advisor = field(default_factory=lambda: Advisor(None))
    demand: PrometheusDemand = field(default_factory=lambda: PrometheusDemand(None))
    history: PrometheusHistory = field(default_factory=lambda: PrometheusHistory(None))
    lacking: tuple[str, str] | None = None
    loop: FleetLoop | None = None

    async def policy(self, name: str = "chat", **spec: Any) -> None:
        """For pods with label app=NAME."""
        await self.admin.create(POLICIES, self.namespace, policy(self.namespace, name, **spec))

    async def engine(
        self, name: str = "chat-1", identity: ProfileIdentity = IDENTITY, **metadata: Any
    ) -> EngineStandIn:
        """A Ready pod whose engine answers."""
        engine = await self.stack.enter_async_context(EngineStandIn(identity=identity))
        await shop.add_engine(self.admin, self.namespace, name, engine, **metadata)
        return engine

    async def profile(self, identity: ProfileIdentity = IDENTITY, **changes: Any) -> None:
        """A measured one; ``changes`` of its spec, ``name`` and ``measured`` apart; what is None is taken out."""
        name = changes.pop("name", f"profile-{identity.key()}")
        measured_at = changes.pop("measured", self.clock.now - 7200.0)
        effect = HarvestProfile(self.namespace, "turbospec-profile-x", name)
        made = manifests.profile(effect, Measured(profile_result(identity), "node-1", "vllm:1"), measured_at)
        made["spec"] = {field: value for field, value in (made["spec"] | changes).items() if value is not None}
        await self.admin.create(PROFILES, self.namespace, made)

    async def rounds(self, count: int = 3, seconds: float = ROUND_SECONDS) -> None:
        """The operator looks, decides and applies so many times."""
        loop = self.loop or await self._started()
        for _ in range(count):
            self.clock.now += seconds
            loop.wake()
            await loop._guarded_round()
            await self.advisor.settled()
            await asyncio.gather(*(task for task in (loop._asking, loop._recalling) if task is not None))
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
            demand=self.demand,
            history=self.history,
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
