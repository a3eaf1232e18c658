"""Pods that are on their way in find everything there, and say nothing of the fleet before they serve it."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from tests.fleet.builders import LADDER, MODEL, NOW, pod, policy, profile, pushes, report, snapshot, step_seconds
from tests.fleet.scaling_builders import hpa
from turbospec.control.acceptance import Prior
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.objective import Objective
from turbospec.control.step import StepComposition
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import PushControl
from turbospec.fleet.scale_events import ScaleState
from turbospec.fleet.snapshot import EngineLoopMode, PodView
from turbospec.fleet.table_mode import draft_tokens_at

TOKENS = {k: sum(0.6**j for j in range(k + 1)) for k in LADDER}
"""Per step and request, where each draft is accepted by six in ten."""


def grown(name: str, acceptance: float = 0.8) -> PodView:
    said = report(engine_id=name, acceptance=(acceptance,) * 7, acceptance_samples=(200.0,) * 7)
    return pod(name, report=said)


def told(new: PodView, *others: PodView, **policy_changes: Any) -> PushControl:
    """What is put to the new pod in the round in which its engine first answers."""
    shown = snapshot(policies=(policy(**policy_changes),), pods=(*others, new), profiles=(profile(),))
    # The others have been there for a while.
    known = decide(
        snapshot(policies=shown.policies, pods=others, profiles=shown.profiles, now_seconds=NOW - 2), FleetMemory()
    )[1]
    (document,) = [push for push in pushes(decide(shown, known)[0]) if push.engine.uid == new.uid]
    return document


@pytest.mark.parametrize("ready", [False, True])
def test_a_new_engine_is_told_model_and_prior_when_it_first_answers(ready: bool) -> None:
    """Minutes of loading end in seconds of serving with what the fleet knows: not one step without it."""
    document = told(pod("new", ready=ready), grown("a"), grown("b"))
    assert document.latency == MODEL
    assert [entry.acceptance for entry in document.prior] == pytest.approx([0.8] * 7, abs=0.05)


def test_under_the_operators_tables_it_is_told_a_table_when_it_first_answers() -> None:
    document = told(pod("new", ready=False), grown("a"), grown("b"), loop=EngineLoopMode.TABLE)
    assert document.table is not None
    assert document.table[0].draft_tokens > 0


@pytest.mark.parametrize(("batch", "wanted", "k"), [(256, 3, 0), (256, 8, 1), (32, 4, 1), (8, 16, 3)])
@pytest.mark.parametrize("loop", EngineLoopMode)
def test_what_waits_for_a_pod_is_for_the_batch_after_the_event(
    loop: EngineLoopMode, batch: int, wanted: int, k: int
) -> None:
    """Two pods with this batch, and so many wanted: spread over those, requests meet the best K at the first step.

    Batches of before are never in question: a new engine's table is by its own batch, whatever its peers run.
    """
    two = [pod(name, report=replace(grown(name, 0.6).report, running=batch, decodes=batch)) for name in "ab"]  # type: ignore[type-var]
    new = pod("new", ready=False, created_seconds=NOW - 60)
    shown = snapshot(
        policies=(policy(loop=loop),),
        pods=(*two, new),
        profiles=(profile(),),
        autoscalers=(hpa(desired=wanted, max_replicas=20),),
    )
    effects, memory = decide(shown, FleetMemory())
    (document,) = [push for push in pushes(effects) if push.engine.uid == new.uid]
    event = memory.scale_events["team", "deployment/chat"]
    assert (event.state, event.replicas) == (ScaleState.UP_UNDER_WAY, wanted)
    after = round(2 * batch / wanted)
    assert first_step(document, after) == k
    best = max(LADDER, key=lambda k: TOKENS[k] / step_seconds(after, k))
    assert best == k


@pytest.mark.parametrize(("batch", "free", "k"), [(16, 7, 3), (64, 3, 1), (128, 3, 0), (256, 1, 1)])
@pytest.mark.parametrize("loop", EngineLoopMode)
def test_until_others_come_the_k_that_holds_the_objective_is_run_else_the_most_delivering(
    loop: EngineLoopMode, batch: int, free: int, k: int
) -> None:
    """Steps of at most 16 ms hold it, which at 256 not even K = 0 has. No other document is waited for."""
    objective = Objective(time_to_first_token_seconds=1.9 * 0.016)
    bound, unbound = (
        told(pod("new"), grown("a", 0.9), grown("b", 0.9), loop=loop, objective=each)
        for each in (objective, Objective())
    )
    assert (first_step(unbound, batch), first_step(bound, batch)) == (free, k)
    assert (1.9 * step_seconds(batch, k) > 1.9 * 0.016) is (batch == 256)


def first_step(document: PushControl, batch: int) -> int:
    """K of an engine that has this document and has done nothing yet."""
    engine = EngineLoop(LoopLimits(256, 7, LADDER), (0, 7))
    rows = document.table
    table = None if rows is None else tuple(draft_tokens_at(rows, max(1, each)) or 0 for each in range(257))
    priors = tuple(Prior(entry.acceptance, entry.samples) for entry in document.prior)
    mode: Literal["local", "table"] = "local" if table is None else "table"
    engine.configure(LoopSettings(mode, LADDER, table, document.latency, priors, document.objective))
    return engine.draft_tokens(StepComposition(decodes=batch, prefill_tokens=0, kv_tokens=256 * batch, waiting=0))


@pytest.mark.parametrize(
    "changes",
    [
        {"ready": False},
        {"terminating": True},
        {"ready_since_seconds": NOW - 5, "report": report(acceptance=(0.1,) * 7, acceptance_samples=(20.0,) * 7)},
    ],
    ids=["not Ready", "draining", "warming up"],
)
def test_pods_that_come_or_go_teach_nobody(changes: dict[str, Any]) -> None:
    """Start-up probes and warm-up prompts are nobody's text, and a few drafts are no evidence."""
    other = replace(grown("other", acceptance=0.1), **changes)
    document = told(pod("new", ready=False), grown("a"), other)
    assert document.prior[0].acceptance == pytest.approx(0.8, abs=0.05)
