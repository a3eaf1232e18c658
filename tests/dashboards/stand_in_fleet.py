"""A small fleet that is real but for its GPUs and its cluster: live stand-in engines under load, the fleet loop's own
``decide``, its documents put in force, and the operator's own series over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

import aiohttp

from tests.fleet.builders import pod, policy
from tests.simulation.builders import LINEAR, engine_file
from turbospec.control.latency import LatencyModel, MeasuredCell, build_latency_model, build_plain_model
from turbospec.engine.refusals import RequestRefusedError
from turbospec.engine.state import engine_state
from turbospec.fleet.autoscalers import AutoscalerView, ScaleMetric
from turbospec.fleet.decide import decide
from turbospec.fleet.effects import Effect, PushControl, SetPolicyStatus
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.snapshot import EngineReport, FleetSnapshot, PlainView, PodView, ProfileSource, ProfileView
from turbospec.standin.engine import StandInEngine
from turbospec.standin.many import addresses_from, stand_in_engines
from turbospec.standin.options import StandInOptions
from turbospec.standin.server import StandInServer
from turbospec_operator import engine_views, probes
from turbospec_operator.control_documents import control_document
from turbospec_operator.fleet_loop import Health
from turbospec_operator.metrics import Metrics

SPEED = 1.0
"""Simulated seconds per second."""
FLEET_SPEED = 20.0
"""Seconds of the fleet loop per second: demand is believed after half a minute of them."""
ROUND_SECONDS = 5.0
"""Of the fleet loop; the operator's are shorter, and a machine that runs other tests beside is busy enough."""
CLIENTS = 2
DAY = 86_400.0
FIRST = IPv4Address("127.77.9.1")


@dataclass(frozen=True, slots=True)
class Kind:
    """A Deployment whose pods are hardware of their own. ``changes`` are fields of ENGINE.yaml."""

    deployment: str
    app: str
    namespace: str
    engines: int
    changes: Mapping[str, object] = field(default_factory=dict)


KINDS = (
    Kind("chat", "chat", "shop", 2),
    Kind("search", "search", "shop", 1),
    Kind("batch", "batch", "lab", 1),
    Kind("old", "batch", "lab", 1, {"allowedDraftTokens": [0]}),
)


@dataclass
class Member:
    """A pod, and the engine in it; ``address`` is empty for a pod without."""

    view: PodView
    engine: StandInEngine | None = None
    address: str = ""


class StandInFleet:
    """Three policies: ``chat`` has a profile and scales up; ``search`` decides by a profile of the cluster and scales
    on what speculation distorts; ``batch`` waits for its profile, beside an engine that cannot be steered and a pod
    that was not injected."""

    def __init__(self, members: list[Member], metrics: Metrics, speed: float) -> None:
        self.members = members
        self.metrics = metrics
        self._speed = speed
        self._memory = FleetMemory()
        self._reported: dict[str, tuple[tuple[str, str], ...]] = {}
        self._began = time.monotonic()
        self._start = time.time()
        self.snapshot = self._observe()

    def round(self) -> None:
        """One round of the fleet loop, told to the metrics as ``FleetLoop`` and ``Applier`` tell it."""
        began = time.monotonic()
        self.snapshot = snapshot = self._observe()
        self.metrics.observed(snapshot)
        effects, self._memory = decide(snapshot, self._memory)
        self.metrics.loads(self._memory.loads, self._memory.values)
        self.metrics.scale_events(self._memory.scale_events)
        for effect in effects:
            self.metrics.effect(type(effect).__name__, self._carry_out(effect))
        self.metrics.round_ended("done", time.monotonic() - began)

    def _observe(self) -> FleetSnapshot:
        now = self._start + (time.monotonic() - self._began) * self._speed
        return FleetSnapshot(
            now,
            1,
            policies=tuple(
                policy(
                    name,
                    namespace=namespace,
                    match_labels=(("app", name),),
                    reported=self._reported.get(name, ()),
                    profile_source=ProfileSource.JOB if name == "batch" else ProfileSource.EXISTING,
                )
                for name, namespace in (("chat", "shop"), ("search", "shop"), ("batch", "lab"))
            ),
            pods=tuple(replace(member.view, report=_report(member.engine)) for member in self.members),
            profiles=tuple(self._profiles()),
            autoscalers=(
                _autoscaler("chat", 2, 3, "turbospec_offered_load_ratio", 0.95),
                _autoscaler("search", 1, 1, "vllm_num_requests_running", 8.0),
            ),
            denied=("create jobs in lab: nothing is profiled",),
        )

    def _profiles(self) -> Iterator[ProfileView]:
        engines = {member.view.owner: member.engine for member in self.members if member.engine is not None}
        chat, search = (engines[f"deployment/{name}"].runtime.facts.identity.key() for name in ("chat", "search"))
        yield ProfileView(
            "shop",
            f"profile-{chat}",
            chat,
            MODEL,
            measured_seconds=self._start - 2 * DAY,
            hold_out_error=0.015,
            plain=PlainView(PLAIN_MODEL, 120_000, 20.0, 0.015),
        )
        yield ProfileView(None, "shared", search, MODEL, measured_seconds=self._start - 9 * DAY, hold_out_error=0.04)
        yield ProfileView("lab", "broken", "0123456789abcdef", None, invalid="no cell with draftTokens 0")

    def _carry_out(self, effect: Effect) -> str:
        if isinstance(effect, SetPolicyStatus):
            self.metrics.policy_status(effect)
            self._reported[effect.name] = tuple((entry.type, entry.reason) for entry in effect.conditions)
        if isinstance(effect, PushControl):
            (engine,) = [each.engine for each in self.members if each.view.uid == effect.engine.uid]
            try:
                assert engine is not None
                engine.put(control_document(effect, 1))
            except RequestRefusedError:
                return "failed"
        return "done"


def _report(engine: StandInEngine | None) -> EngineReport | None:
    return None if engine is None else engine_views.engine_report(engine_state(engine.runtime, engine.controller))


def _autoscaler(name: str, current: int, desired: int, metric: str, value: float) -> AutoscalerView:
    read = ScaleMetric("External", metric, "Value", 0.8 if value < 1 else 8.0, value)
    return AutoscalerView("shop", name, f"deployment/{name}", f"app={name}", 1, 8, current, desired, metrics=(read,))


def _model() -> LatencyModel:
    """What a profile of these engines would say: their own formula."""
    cells = [
        MeasuredCell(batch, context, k, 0, _seconds(batch, context, k), 20)
        for batch in (1, 4, 16, 32)
        for context in (128, 1024)
        for k in (0, 1, 3, 7)
    ]
    return build_latency_model(cells)


def _seconds(batch: int, context: int, draft_tokens: int) -> float:
    step = LINEAR["secondsPerStep"] + LINEAR["overheadSeconds"] + LINEAR["secondsPerKvToken"] * batch * context
    drafting = LINEAR["draftSecondsPerPass"] + LINEAR["draftSecondsPerToken"] * batch
    return step + LINEAR["secondsPerBatchedToken"] * batch * (draft_tokens + 1) + draft_tokens * drafting


MODEL = _model()
PLAIN_MODEL = build_plain_model(
    [replace(cell, seconds=cell.seconds / 1.1) for cell in MODEL.cells if not cell.draft_tokens], MODEL.fit
)


@dataclass(frozen=True)
class Endpoints:
    """A running fleet and where it is scraped."""

    fleet: StandInFleet
    operator_port: int
    serving_port: int
    control_port: int


@asynccontextmanager
async def stand_in_fleet(speed: float = SPEED, fleet_speed: float = FLEET_SPEED) -> AsyncIterator[Endpoints]:
    """Engines serve, clients ask, and rounds follow each other, while the context is open."""
    members, engines = _members(speed)
    metrics = Metrics()
    metrics.leads()
    fleet = StandInFleet(members, metrics, fleet_speed)
    healthy = Health(None, None)
    async with (
        StandInServer(engines, 0, 0) as server,
        probes.serve("127.0.0.1", 0, metrics, lambda: healthy) as port,
        aiohttp.ClientSession(trust_env=False) as session,
        asyncio.TaskGroup() as group,
    ):
        urls = [f"http://{address}:{server.port}/v1/completions" for address in engines]
        tasks = [group.create_task(_client(session, url)) for url in urls for _ in range(CLIENTS)]
        tasks.append(group.create_task(_rounds(fleet, fleet_speed)))
        try:
            yield Endpoints(fleet, port, server.port, server.control_port)
        finally:
            for task in tasks:
                task.cancel()


async def _rounds(fleet: StandInFleet, speed: float) -> None:
    while True:
        fleet.round()
        await asyncio.sleep(ROUND_SECONDS / speed)


async def _client(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        async with session.post(url, json={"prompt": [1] * 100, "max_tokens": 200}) as answer:
            await answer.read()


def _members(speed: float) -> tuple[list[Member], dict[str, StandInEngine]]:
    engines: dict[str, StandInEngine] = {}
    members: list[Member] = [Member(_pod("batch", "lab", "not-injected", owner="deployment/batch", injected=False))]
    for kind in KINDS:
        options = StandInOptions(hardware=kind.deployment, speed=speed)
        addresses = addresses_from(FIRST + len(engines), kind.engines)
        made = stand_in_engines(engine_file(**kind.changes), options, addresses, [])
        engines |= made
        for number, (address, engine) in enumerate(made.items()):
            name, owner = f"{kind.deployment}-{number}", f"deployment/{kind.deployment}"
            members.append(Member(_pod(kind.app, kind.namespace, name, owner=owner), engine, address))
    return members, engines


def _pod(app: str, namespace: str, name: str, **changes: object) -> PodView:
    return pod(name, namespace=namespace, labels=(("app", app),), report=None, ready_since_seconds=0.0, **changes)
