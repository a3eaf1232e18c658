"""Pods that are on their way in find everything there, and say nothing of the fleet before they serve it."""

from typing import Any

import pytest

from tests.fleet.builders import MODEL, NOW, pod, policy, profile, pushes, report, snapshot
from turbospec.fleet.decide import FleetMemory, decide
from turbospec.fleet.effects import PushControl
from turbospec.fleet.snapshot import EngineLoopMode, PodView


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


def test_a_pod_that_is_not_ready_yet_teaches_nobody() -> None:
    """Start-up probes and warm-up prompts are nobody's text."""
    warming = pod("warming", ready=False, report=grown("warming", acceptance=0.1).report)
    document = told(pod("new", ready=False), grown("a"), warming)
    assert document.prior[0].acceptance == pytest.approx(0.8, abs=0.05)
