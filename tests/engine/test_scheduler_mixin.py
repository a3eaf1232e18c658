"""The mixin changes K and nothing else, and no failure of ours reaches the engine."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.engine.fakes import FakeScheduler, model_output
from tests.engine.support import MixedScheduler, make_rig
from turbospec.control.engine_loop import LoopSettings
from turbospec.engine.scheduler import SEAMS, TurboSpecMixin, mixed_with
from turbospec.wire.engine_state import Unsupported


def test_a_class_is_mixed_once_and_only_where_it_has_the_seams() -> None:
    """Another plugin may ask twice; a scheduler of another kind is left alone."""

    class Stranger:
        def schedule(self) -> None: ...

    assert mixed_with(MixedScheduler) is MixedScheduler
    assert mixed_with(Stranger) is Stranger
    assert issubclass(MixedScheduler, FakeScheduler)


def test_all_that_is_extended_is_documented() -> None:
    """A vLLM user reads in docs/engine.md what is touched."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text()
    extended = [name for name, member in vars(TurboSpecMixin).items() if callable(member)]
    assert set(SEAMS) < set(extended)
    assert [name for name in extended if f"| `Scheduler.{name}` | extended |" not in text] == []


def test_an_engine_serves_untouched_where_the_runtime_cannot_start(caplog: pytest.LogCaptureFixture) -> None:
    """There is no vLLM here, so attaching fails: one line in the log, and vLLM's own table decides."""
    scheduler: Any = MixedScheduler()
    assert sum("serves without it" in message for message in caplog.messages) == 1
    scheduler.add("a")
    output = scheduler.schedule()
    assert output.num_spec_tokens_to_schedule == 5
    scheduler.update_from_output(output, model_output(output))
    scheduler.shutdown()
    assert scheduler.shut_down


def test_k_is_in_the_output_before_vllm_does_its_bookkeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """An asynchronous scheduler makes its placeholders in that call: their length must already be the new K."""
    rig = make_rig(monkeypatch, asynchronous=True)
    rig.scheduler.add("a")
    rig.force(3)
    rig.schedule()
    assert rig.scheduler.requests["a"].draft == [-1, -1, -1]


def test_the_step_named_by_next_seq_is_the_first_with_the_new_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what the answer to a PUT promises."""
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a")
    for _ in range(4):
        rig.step()
    rig.force(1)
    promised = rig.runtime.next_seq
    for _ in range(3):
        rig.step()
    by_seq = {record.seq: record.decided_draft_tokens for record in rig.runtime.ring.last(100)}
    assert all(k == (1 if seq >= promised else 5) for seq, k in by_seq.items())
    assert promised in by_seq


@pytest.mark.parametrize("hook", ["draft_tokens", "observe"])
def test_a_loop_that_raises_ends_steering_and_not_the_engine(monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    """From then on the start-up table decides and the state says why."""
    rig = make_rig(monkeypatch)
    rig.force(2)
    rig.scheduler.add("a")
    rig.step()

    def broken(*_: Any) -> int:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(rig.runtime, "loop", SimpleNamespace(draft_tokens=lambda _: 2, observe=lambda _: None))
    monkeypatch.setattr(rig.runtime.loop, hook, broken)
    for _ in range(3):
        rig.step()
    assert rig.scheduler.schedule().num_spec_tokens_to_schedule == 5
    reason = rig.runtime.unsupported()
    assert reason is not None
    assert reason.code == "RuntimeFailed"
    assert "broken" in reason.message


@pytest.mark.parametrize("nonsense", [-1, 6, 4, None, 1.5, "3"])
def test_a_k_outside_the_allowed_set_never_reaches_vllm(monkeypatch: pytest.MonkeyPatch, nonsense: Any) -> None:
    """The worker asserts on it, which would end the engine; here 4 is in range but its graphs were not captured."""
    rig = make_rig(monkeypatch, allowed=(0, 1, 3, 5))
    monkeypatch.setattr(rig.runtime, "loop", SimpleNamespace(draft_tokens=lambda _: nonsense, observe=lambda _: None))
    rig.scheduler.add("a")
    assert rig.scheduler.schedule().num_spec_tokens_to_schedule == 5


@pytest.mark.parametrize("equal", [3.0, np.int64(3), np.float64(3.0)])
def test_k_reaches_vllm_as_a_plain_int(monkeypatch: pytest.MonkeyPatch, equal: Any) -> None:
    """It multiplies lists by it and sends it to its workers."""
    rig = make_rig(monkeypatch)
    monkeypatch.setattr(rig.runtime, "loop", SimpleNamespace(draft_tokens=lambda _: equal, observe=lambda _: None))
    rig.scheduler.add("a")
    assert type(rig.scheduler.schedule().num_spec_tokens_to_schedule) is int


def test_the_kill_switch_gives_the_start_up_table_back_and_takes_it_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telemetry goes on meanwhile."""
    rig = make_rig(monkeypatch)
    rig.force(1)
    rig.scheduler.add("a")
    decided = []
    for killed in (False, True, True, False):
        rig.runtime.killed = killed
        record = rig.step()
        assert record is not None
        decided.append(record.decided_draft_tokens)
    assert decided == [1, 5, 5, 1]
    assert rig.runtime.unsupported() is None


def test_an_unsupported_engine_is_observed_and_not_steered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no engine loop at all."""
    rig = make_rig(monkeypatch, unsupported=Unsupported(code="DataParallel", message="two ranks"))
    rig.runtime.configure(LoopSettings(mode="table", allowed=(1,), table=(1, 1)))
    rig.scheduler.add("a")
    record = rig.step()
    assert record is not None
    assert record.decided_draft_tokens == 5
    assert rig.runtime.table() == (0, *[5] * 8)


def test_the_loop_learns_while_the_next_step_runs_and_not_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between completion and dispatch the accelerator waits for us; after dispatch it does not."""
    rig = make_rig(monkeypatch)
    fed: list[int] = []
    monkeypatch.setattr(
        rig.runtime, "loop", SimpleNamespace(draft_tokens=lambda _: 2, observe=lambda record: fed.append(record.seq))
    )
    rig.scheduler.add("a")
    output = rig.scheduler.schedule()
    rig.scheduler.get_grammar_bitmask(output)
    rig.scheduler.update_from_output(output, model_output(output))
    output = rig.scheduler.schedule()
    assert fed == []
    rig.scheduler.get_grammar_bitmask(output)
    assert fed == [0]


def test_an_engine_that_never_asks_for_a_bitmask_still_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records are fed in bundles."""
    rig = make_rig(monkeypatch)
    fed: list[int] = []
    monkeypatch.setattr(
        rig.runtime, "loop", SimpleNamespace(draft_tokens=lambda _: 2, observe=lambda record: fed.append(record.seq))
    )
    rig.scheduler.add("a")
    for _ in range(20):
        output = rig.scheduler.schedule()
        rig.scheduler.update_from_output(output, model_output(output))
    assert fed == list(range(18))


def test_between_tokens_and_dispatch_a_step_is_only_noted_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is made while the next one runs, or at once where no next one will come."""
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a")
    outputs = []
    for _ in range(3):
        outputs.append(rig.scheduler.schedule())
        assert rig.runtime.telemetry.totals.steps == max(0, len(outputs) - 2)
        rig.scheduler.get_grammar_bitmask(outputs[-1])
        assert rig.runtime.telemetry.totals.steps == len(outputs) - 1
        rig.scheduler.update_from_output(outputs[-1], model_output(outputs[-1]))
        assert rig.runtime.telemetry.totals.steps == len(outputs) - 1
    last = rig.scheduler.schedule()
    rig.scheduler.finish("a")
    rig.scheduler.update_from_output(last, model_output(last))
    assert rig.runtime.telemetry.totals.steps == 4


def test_configuring_in_another_thread_never_makes_a_step_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the loop is being configured a step's record is dropped, not waited for."""
    rig = make_rig(monkeypatch)
    rig.scheduler.add("a")
    with rig.runtime._loop_lock:
        rig.step()
        rig.step()
    assert rig.runtime.telemetry.totals.steps == 2
