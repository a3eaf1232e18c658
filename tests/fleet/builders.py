"""Short ways to say what a fleet looks like."""

from collections.abc import Iterable
from typing import Any

from turbospec.control.latency import LatencyModel, MeasuredCell, build_latency_model
from turbospec.fleet.effects import ConditionValue, CreateProfilingJob, Effect, PushControl, SetPolicyStatus
from turbospec.fleet.snapshot import (
    EngineLoopMode,
    EngineReport,
    FleetSnapshot,
    JobPhase,
    JobView,
    Mode,
    PodView,
    PolicyView,
    PositionCounts,
    ProfileSource,
    ProfileView,
)

NOW = 1_800_000_000.0
KEY = "00112233445566aa"
LADDER = (0, 1, 3, 7)


def step_seconds(batch: int, draft_tokens: int) -> float:
    """Ground truth: at acceptance 0.9 long drafts pay at small batches, at 0.05 none does."""
    drafting = 0.001 * draft_tokens + 0.0003 * (draft_tokens > 0)
    return 0.006 + 0.00006 * batch * (1 + draft_tokens) + drafting


def latency_model(factor: float = 1.0) -> LatencyModel:
    """A model measured on the ground truth."""
    return build_latency_model(
        [
            MeasuredCell(batch, context, k, 0, factor * step_seconds(batch, k) * (1 + context / 1e5), 20)
            for batch in (1, 4, 16, 64, 256)
            for context in (256, 2048)
            for k in LADDER
        ]
    )


MODEL = latency_model()


def policy(name: str = "chat", **changes: Any) -> PolicyView:
    values: dict[str, Any] = {
        "namespace": "team",
        "name": name,
        "uid": f"policy-{name}",
        "generation": 1,
        "created_seconds": NOW - 1000,
        "match_labels": (("app", "chat"),),
        "mode": Mode.ENFORCE,
        "loop": EngineLoopMode.LOCAL,
        "draft_tokens": LADDER,
        "profile_source": ProfileSource.JOB,
    }
    return PolicyView(**(values | changes))


def report(**changes: Any) -> EngineReport:
    values: dict[str, Any] = {
        "engine_id": "engine-1",
        "profile_key": KEY,
        "max_num_seqs": 256,
        "engine_draft_tokens": tuple(range(8)),
        "applied_id": None,
        "applied_epoch": None,
        "draft_tokens": 3,
        "running": 4,
        "waiting": 0,
        "kv_tokens": 4000,
        "decodes": 4,
        "drafts": 0,
        "counts": PositionCounts((0,) * 7, (0,) * 7),
        "acceptance": (None,) * 7,
        "acceptance_samples": (0.0,) * 7,
    }
    return EngineReport(**(values | changes))


def pod(name: str = "chat-0", **changes: Any) -> PodView:
    values: dict[str, Any] = {
        "namespace": "team",
        "name": name,
        "uid": f"pod-{name}",
        "node": "node-1",
        "labels": (("app", "chat"), ("turbospec.io/inject", "true")),
        "owner": "deployment/chat",
        "ready": True,
        "terminating": False,
        "injected": True,
        "report": report(engine_id=f"engine-{name}"),
    }
    return PodView(**(values | changes))


def profile(**changes: Any) -> ProfileView:
    values: dict[str, Any] = {"namespace": "team", "name": f"profile-{KEY}", "key": KEY, "latency": MODEL}
    return ProfileView(**(values | changes))


def job(**changes: Any) -> JobView:
    values: dict[str, Any] = {
        "namespace": "team",
        "name": f"turbospec-profile-{KEY}",
        "key": KEY,
        "phase": JobPhase.RUNNING,
        "harvestable": False,
    }
    return JobView(**(values | changes))


def snapshot(**changes: Any) -> FleetSnapshot:
    values: dict[str, Any] = {"now_seconds": NOW, "epoch": 1, "policies": (policy(),), "pods": (pod(),)}
    return FleetSnapshot(**(values | changes))


def pushes(effects: Iterable[Effect]) -> list[PushControl]:
    return [effect for effect in effects if isinstance(effect, PushControl)]


def jobs(effects: Iterable[Effect]) -> list[CreateProfilingJob]:
    return [effect for effect in effects if isinstance(effect, CreateProfilingJob)]


def status(effects: Iterable[Effect], name: str = "chat") -> SetPolicyStatus:
    (found,) = [effect for effect in effects if isinstance(effect, SetPolicyStatus) and effect.name == name]
    return found


def conditions(effects: Iterable[Effect], name: str = "chat") -> dict[str, ConditionValue]:
    return {condition.type: condition for condition in status(effects, name).conditions}
