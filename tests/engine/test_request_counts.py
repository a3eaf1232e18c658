"""How many requests came and how long they were: the same at every K, and never at the engine's cost."""

from types import SimpleNamespace

import pytest

from e2e.vllm.install import installation
from tests.engine.support import Rig, make_rig
from turbospec.wire.engine_state import RequestCounters


def counters(rig: Rig) -> RequestCounters:
    found = rig.runtime.requests.counters()
    assert found is not None
    return found


@pytest.mark.parametrize("k", [0, 3, 5])
@pytest.mark.parametrize("log_stats", [True, False])
def test_requests_are_counted_from_arrival_to_end(monkeypatch: pytest.MonkeyPatch, k: int, log_stats: bool) -> None:
    """A request's output is counted when it has ended, with as many tokens as vLLM then says it has."""
    rig = make_rig(monkeypatch, log_stats=log_stats)
    rig.force(k)
    rig.scheduler.add("a", prompt_tokens=100)
    rig.scheduler.add("b", prompt_tokens=50)
    for _ in range(5):
        rig.step(accepted=2)
    assert counters(rig) == RequestCounters(
        arrived=2, admitted=2, prompt_tokens=150, prefill_tokens=150, finished=0, output_tokens=0
    )
    ended = rig.scheduler.requests["a"].generated
    rig.scheduler.finish("a")
    rig.step()
    found = counters(rig)
    assert (found.arrived, found.finished, found.output_tokens) == (2, 1, ended)


def test_requests_that_end_unserved_came_and_have_no_length(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a")
    rig.step()
    rig.scheduler.add("gone")
    rig.scheduler.finish("gone")
    rig.step()
    found = counters(rig)
    assert (found.arrived, found.admitted, found.finished) == (2, 1, 0)


def test_the_last_request_is_counted_in_the_step_without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM makes one more, empty, step for it; there may be none for hours after."""
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a")
    rig.step()
    rig.scheduler.finish("a")
    rig.scheduler.schedule()
    assert counters(rig).finished == 1


def test_a_preempted_request_that_comes_back_as_new_came_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model runner V2 announces it as new; what is computed again is prefill."""
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a", prompt_tokens=100)
    rig.step()
    request = rig.scheduler.requests["a"]
    rig.scheduler.running.remove(request)
    rig.scheduler.waiting.append(request)
    request.num_computed_tokens = 0
    rig.step()
    found = counters(rig)
    assert (found.arrived, found.admitted, found.prompt_tokens, found.prefill_tokens) == (1, 1, 100, 200)


def test_a_vllm_that_keeps_requests_differently_ends_the_counting_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = make_rig(monkeypatch)
    rig.force(3)
    rig.scheduler.add("a")
    output = rig.scheduler.schedule()
    rig.runtime.requests.scheduled(output, {"a": SimpleNamespace()}, 0)
    record = rig.step()
    assert rig.runtime.requests.counters() is None
    assert rig.runtime.unsupported() is None
    assert record is not None
    assert record.decided_draft_tokens == 3


@pytest.mark.vllm
def test_vllm_says_how_long_its_requests_are() -> None:
    """Read and not run: both names are all that the counting needs of a request."""
    source = next(installation().venv.glob("lib/python*/site-packages/vllm/v1/request.py")).read_text(encoding="utf-8")
    assert "self.num_prompt_tokens = " in source
    assert "def num_output_tokens(self) -> int:" in source
