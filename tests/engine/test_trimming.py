"""Speculators that only make their maximum are asked for it, and K of their drafts are verified."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.committed_seams import committed_probe
from tests.engine.configs import vllm_config
from tests.engine.fakes import Output, model_output
from tests.engine.support import Rig, make_rig
from turbospec.engine.trimming import DraftTrimmer, draft_trimmer


def trimmed_rig(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Rig:
    rig = make_rig(monkeypatch, **changes)
    rig.scheduler._turbospec_trimmer = DraftTrimmer(5)
    rig.scheduler.add("a")
    rig.scheduler.add("b")
    return rig


def run(rig: Rig) -> Output:
    """One synchronous step; the worker asserts that it is asked for its maximum, as suffix and medusa do."""
    output: Output = rig.scheduler.schedule()
    assert output.num_spec_tokens_to_schedule == 5
    rig.scheduler.get_grammar_bitmask(output)
    rig.scheduler.update_from_output(output, model_output(output))
    rig.scheduler.give_drafts(output)
    rig.runtime.settle()
    return output


@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_the_worker_makes_its_maximum_and_k_are_verified(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """From the step after the one that decided it."""
    rig = trimmed_rig(monkeypatch)
    rig.force(k)
    run(rig)
    for _ in range(3):
        drafts = run(rig).scheduled_spec_decode_tokens
        assert [len(row) for row in drafts.values()] == [k] * (2 if k else 0)
    newest = rig.runtime.ring.newest()
    assert newest is not None
    assert newest.decided_draft_tokens == k
    assert newest.verified_draft_tokens == 2 * k


def test_drafts_are_cut_before_a_grammar_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it never has to look at drafts that nobody verifies; it may cut further."""
    rig = trimmed_rig(monkeypatch)
    rig.scheduler.grammars["a"] = 1
    rig.force(3)
    run(rig)
    assert {name: len(row) for name, row in run(rig).scheduled_spec_decode_tokens.items()} == {"a": 1, "b": 3}


def test_an_asynchronous_scheduler_has_made_its_placeholders_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """K of them, although the worker then reads the maximum."""
    rig = trimmed_rig(monkeypatch, asynchronous=True)
    rig.force(2)
    output = rig.schedule()
    assert [request.draft for request in rig.scheduler.running] == [[-1, -1]] * 2
    assert output.num_spec_tokens_to_schedule == 5


def test_a_stopped_runtime_still_gives_the_worker_its_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the kill switch the start-up table decides K, and trimming goes on: the worker would assert otherwise."""
    rig = trimmed_rig(monkeypatch)
    rig.runtime.killed = True
    rig.scheduler.dynamic_sd_lookup = [0, 2, 2, 2]
    run(rig)
    assert [len(row) for row in run(rig).scheduled_spec_decode_tokens.values()] == [2, 2]


def test_the_workers_own_list_is_left_alone() -> None:
    """In one process it is the same object."""
    trimmer = DraftTrimmer(5)
    trimmer.scheduled(SimpleNamespace(num_spec_tokens_to_schedule=1))
    drafts = SimpleNamespace(req_ids=["a"], draft_token_ids=[[1, 2, 3]])
    assert trimmer.cut(drafts).draft_token_ids == [[1]]
    assert drafts.draft_token_ids == [[1, 2, 3]]


@pytest.mark.parametrize("drafts", [None, SimpleNamespace(rows=[]), SimpleNamespace(draft_token_ids=[7])])
def test_drafts_of_another_form_are_passed_on(drafts: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log, and vLLM verifies what it got."""
    trimmer = DraftTrimmer(5)
    trimmer.scheduled(SimpleNamespace(num_spec_tokens_to_schedule=1))
    assert trimmer.cut(drafts) is drafts
    assert trimmer.cut(drafts) is drafts
    assert sum("cannot shorten" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("changes", "release", "trimmed"),
    [
        ({"method": "suffix"}, "0.33.0", True),
        ({"method": "medusa"}, "0.32.0", True),
        ({"method": "ngram"}, "0.32.0", False),
        ({"method": "eagle3", "use_v2_model_runner": True, "async_scheduling": True}, "0.31.0", True),
        ({"method": "eagle3", "use_v2_model_runner": True, "async_scheduling": True}, "0.32.0", False),
        ({"method": "suffix", "data_parallel_size": 2}, "0.32.0", True),
        ({"method": "something_new"}, "0.32.0", False),
        ({"speculative": False}, "0.32.0", False),
    ],
)
def test_a_trimmer_is_there_where_the_speculator_needs_one(
    changes: dict[str, Any], release: str, trimmed: bool
) -> None:
    """Also where K is not steered: a start-up table alone would make suffix and medusa assert."""
    scheduler = SimpleNamespace(vllm_config=vllm_config(**changes), num_spec_tokens=5)
    assert (draft_trimmer(scheduler, committed_probe(release)) is not None) == trimmed
