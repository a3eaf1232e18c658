"""The fleet of the demo: stand-in engines in this process, and the fleet loop over them as over pods of a cluster."""

import time
from collections.abc import Mapping
from typing import Any

from turbospec.control.latency import LatencyModel
from turbospec.engine.state import engine_state
from turbospec.fleet.decide import decide
from turbospec.fleet.effects import PushControl
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.snapshot import (
    EngineLoopMode,
    EngineReport,
    FleetSnapshot,
    Mode,
    PodView,
    PolicyView,
    ProfileSource,
    ProfileView,
)
from turbospec.standin.engine import StandInEngine
from turbospec_operator import engine_views
from turbospec_operator.control_documents import control_document
from turbospec_operator.token_rates import TokenRates

NAMESPACE, POLICY = "demo", "chat"
LABELS = (("app", POLICY),)
EPOCH = 1


class DemoFleet:
    """Engines by the names of the pods that they stand for, one policy, one profile."""

    def __init__(self, engines: Mapping[str, StandInEngine], profile: LatencyModel) -> None:
        self._engines = engines
        self._rates = TokenRates()
        self._memory = FleetMemory()
        self._reports: dict[str, EngineReport] = {}
        now, first = time.time(), next(iter(engines.values()))
        self._profile = ProfileView(NAMESPACE, "profile-demo", first.runtime.facts.identity.key(), profile)
        self._policy = PolicyView(
            namespace=NAMESPACE,
            name=POLICY,
            uid=POLICY,
            generation=1,
            created_seconds=now,
            match_labels=LABELS,
            mode=Mode.ENFORCE,
            loop=EngineLoopMode.LOCAL,
            draft_tokens=tuple(first.runtime.facts.limits.allowed_draft_tokens),
            profile_source=ProfileSource.EXISTING,
        )

    def round(self) -> None:
        """Observe, decide, push: as the operator does, but for the cluster between."""
        for name, engine in self._engines.items():
            state = engine_state(engine.runtime, engine.controller)
            self._reports[name] = engine_views.engine_report(state)
        snapshot = FleetSnapshot(
            now_seconds=time.time(),
            epoch=EPOCH,
            policies=(self._policy,),
            pods=tuple(self._pod(name) for name in self._engines),
            profiles=(self._profile,),
        )
        effects, self._memory = decide(snapshot, self._memory)
        for effect in effects:
            if isinstance(effect, PushControl):
                self._engines[effect.engine.pod].put(control_document(effect, EPOCH))

    def figures(self) -> list[dict[str, Any]]:
        """What ``top`` shows of every engine."""
        return [self._figures(name) for name in self._engines]

    def _pod(self, name: str) -> PodView:
        return PodView(
            namespace=NAMESPACE,
            name=name,
            uid=name,
            node=None,
            labels=LABELS,
            owner=None,
            ready=True,
            terminating=False,
            injected=True,
            report=self._reports[name],
        )

    def _figures(self, name: str) -> dict[str, Any]:
        engine = self._engines[name]
        state, report = engine_state(engine.runtime, engine.controller), self._reports[name]
        rate, acceptance = self._rates.of(state), report.acceptance[0] if report.acceptance else None
        decision = report.decision
        predicted = dict(decision.predictions) if decision is not None else {}
        off, chosen = predicted.get(0), predicted.get(decision.draft_tokens) if decision is not None else None
        return {
            "namespace": NAMESPACE,
            "policy": POLICY,
            "pod": name,
            "controlled": report.applied_id is not None,
            "hardware": state.identity.hardware,
            "batch": report.running,
            "draftTokens": report.draft_tokens,
            "acceptancePercent": None if acceptance is None else round(100 * acceptance),
            "tokensPerSecond": None if rate is None else round(rate),
            "gainPercent": round(100 * (chosen / off - 1)) if off and chosen is not None else None,
        }
