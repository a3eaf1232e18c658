"""A cluster that does what the effects say: engines apply documents, Jobs run and end, statuses are kept."""

import random
from dataclasses import dataclass, field, replace

from tests.fleet.builders import KEY, MODEL, NOW, job, profile, report, step_seconds
from turbospec.fleet.decide import decide
from turbospec.fleet.effects import (
    CreateProfilingJob,
    Effect,
    EmitEvent,
    EnsureRuntime,
    HarvestProfile,
    PushControl,
    SetPolicyStatus,
    TableRange,
)
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.snapshot import (
    EngineIdentity,
    EngineReport,
    FleetSnapshot,
    PodView,
    PolicyView,
    PositionCounts,
    ProfileView,
)

ROUND_SECONDS = 2.0
STARTUP = (TableRange(1, 65536, 3),)


@dataclass
class Engine:
    """One simulated engine. Its drafts, if it finds any, are accepted with ``acceptance``, whatever the position."""

    name: str
    batch: int = 4
    acceptance: float = 0.9
    context: int = 500
    seed: int = 0
    finds_drafts: bool = True
    own_samples: tuple[float, ...] = (0.0,) * 7
    base: PushControl | None = None
    overlay: PushControl | None = None
    overlay_ends: float = 0.0
    drafted: list[int] = field(default_factory=lambda: [0] * 7)
    accepted: list[int] = field(default_factory=lambda: [0] * 7)
    received: list[PushControl] = field(default_factory=list)
    engine_id: str = ""
    identity: EngineIdentity | None = None
    drafts: int = 0
    last_decodes: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.engine_id = self.engine_id or f"engine-{self.name}"
        self.rng = random.Random(f"{self.name}-{self.seed}")  # noqa: S311 -- nothing here is secret

    def put(self, document: PushControl, now: float) -> None:
        """PUT /v1/control; under an overlay a base document waits for its turn."""
        self.received.append(document)
        if document.ttl_seconds is None:
            self.base = document
        else:
            self.overlay, self.overlay_ends = document, now + document.ttl_seconds

    def in_force(self, now: float) -> PushControl | None:
        return self.overlay if self.overlay is not None and now < self.overlay_ends else self.base

    def draft_tokens(self, now: float) -> int:
        document = self.in_force(now)
        table = STARTUP if document is None or document.table is None else document.table
        return next(row.draft_tokens for row in table if row.from_batch <= max(self.batch, 1) <= row.to_batch)

    def serve(self, start: float, seconds: float) -> None:
        """Decode for some time, step by step."""
        clock = start
        while self.batch and clock < start + seconds:
            k = self.draft_tokens(clock)
            self.last_decodes = self.batch
            for _ in range(self.batch if k and self.finds_drafts else 0):
                taken = next((j for j in range(k) if self.rng.random() >= self.acceptance), k)
                self.drafts += 1
                for j in range(k):
                    self.drafted[j] += 1
                    self.accepted[j] += j < taken
            clock += step_seconds(self.batch, k)

    def report(self, now: float) -> EngineReport:
        document = self.in_force(now)
        return report(
            engine_id=self.engine_id,
            identity=self.identity,
            applied_id=None if document is None else document.document_id,
            applied_overlay=document is not None and document.ttl_seconds is not None,
            draft_tokens=self.draft_tokens(now),
            running=self.batch,
            decodes=self.last_decodes,
            kv_tokens=self.last_decodes * self.context,
            drafts=self.drafts,
            counts=PositionCounts(tuple(self.drafted), tuple(self.accepted)),
            acceptance=tuple(self.acceptance if samples else None for samples in self.own_samples),
            acceptance_samples=self.own_samples,
        )


@dataclass
class World:
    """Rounds of the fleet loop over simulated engines. ``restart`` forgets what the operator remembers."""

    snapshot: FleetSnapshot
    engines: dict[str, Engine] = field(default_factory=dict)
    memory: FleetMemory = field(default_factory=FleetMemory)
    now: float = NOW
    effects: list[tuple[float, Effect]] = field(default_factory=list)
    statuses: dict[str, SetPolicyStatus] = field(default_factory=dict)

    def restart(self) -> None:
        self.memory = FleetMemory()
        self.snapshot = replace(self.snapshot, epoch=self.snapshot.epoch + 1)

    def round(self) -> tuple[Effect, ...]:
        """Serve for one round, then observe, decide, apply."""
        for engine in self.engines.values():
            engine.serve(self.now, ROUND_SECONDS)
        self.now += ROUND_SECONDS
        observed = replace(
            self.snapshot,
            now_seconds=self.now,
            pods=tuple(self._pod(pod) for pod in self.snapshot.pods),
            policies=tuple(self._policy(policy) for policy in self.snapshot.policies),
        )
        effects, self.memory = decide(observed, self.memory)
        for effect in effects:
            self.effects.append((self.now, effect))
            self._apply(effect)
        return effects

    def rounds(self, count: int) -> list[Effect]:
        return [effect for _ in range(count) for effect in self.round()]

    def reasons(self, name: str = "chat") -> dict[str, str]:
        return {condition.type: condition.reason for condition in self.statuses[name].conditions}

    def _pod(self, pod: PodView) -> PodView:
        engine = self.engines.get(pod.name)
        return pod if engine is None else replace(pod, report=engine.report(self.now))

    def _policy(self, policy: PolicyView) -> PolicyView:
        written = self.statuses.get(policy.name)
        if written is None:
            return policy
        return replace(policy, reported=tuple((entry.type, entry.reason) for entry in written.conditions))

    def _apply(self, effect: Effect) -> None:
        match effect:
            case PushControl():
                self.engines[effect.engine.pod].put(effect, self.now)
            case CreateProfilingJob():
                known = [view for view in self.snapshot.jobs if view.name == effect.name]
                if not known:
                    created = job(name=effect.name, key=effect.key, attempt=effect.attempt)
                    self.snapshot = replace(self.snapshot, jobs=(*self.snapshot.jobs, created))
            case HarvestProfile():
                harvested: ProfileView = profile(name=effect.profile, key=KEY, latency=MODEL)
                self.snapshot = replace(self.snapshot, profiles=(harvested,))
            case SetPolicyStatus():
                self.statuses[effect.name] = effect
            case EmitEvent() | EnsureRuntime():
                pass
