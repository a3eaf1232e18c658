"""The engine without speculation: what is measured of it beside a first result, which nothing here may spoil."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.profiling.fake_engine import TOKEN, FakeEngine, serve, step_seconds
from tests.profiling.samples import grid_result
from tests.profiling.test_evaluate import record
from turbospec.control.latency import LatencyModel
from turbospec.control.step import StepRecord
from turbospec.profiling import plain_runner
from turbospec.profiling.codec import decode, encode
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import CellError
from turbospec.profiling.plain import PlainSweep, plain_cell
from turbospec.wire.latency import LatencyDocument, LatencyFit, to_model
from turbospec.wire.profile_result import ProfileResult


def first_result() -> ProfileResult:
    """Of an engine as fast as the fake one, which decides how long a cell may take."""
    result = grid_result([1, 8], [128, 512], [0, 3])
    cells = [
        cell.model_copy(
            update={"microseconds": round(1e6 * step_seconds(cell.batch, 0, 0, cell.batch * cell.context_tokens, 0))}
        )
        for cell in result.cells
    ]
    fit = LatencyFit(per_step=4_000_000_000, per_batched_token=200_000_000, per_kv_token=200_000,
                     per_drafting_step=0, per_draft_pass=0, per_draft_token=0)  # fmt: skip
    return result.model_copy(update={"cells": cells, "fit": fit})


def run(engine: FakeEngine, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 30.0) -> tuple[int, str]:
    """Exit status and termination message of the second run, after a first that left its result."""
    message = folder / "termination-log"
    message.write_text(encode(first_result()))
    with serve(engine) as port:
        now = time.monotonic()
        variables = {
            "TURBOSPEC_TOKEN": TOKEN, "TURBOSPEC_PROFILE_PORT": str(port), "TURBOSPEC_CONTROL_PORT": str(port),
            "TURBOSPEC_TERMINATION_LOG": str(message), "TURBOSPEC_PROFILE_PLAIN": str(now + seconds),
            "TURBOSPEC_PROFILE_BEGAN": str(now - 33),
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        status = plain_runner.main()
    return status, message.read_text()


def test_step_times_kv_cache_and_start_are_added_to_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No document is put to an engine that takes none."""
    engine = FakeEngine(max_num_seqs=2, max_draft_tokens=0, kv_cache_tokens=9000)
    status, text = run(engine, tmp_path, monkeypatch)
    assert status == 0
    result = decode(text)
    assert result.plain is not None
    assert result.model_copy(update={"plain": None}) == first_result()
    assert engine.forced == []
    assert result.plain.kv_cache_tokens == 9000
    assert result.plain.start_seconds >= 33
    assert {cell.batch for cell in result.plain.cells} == {1, 2}
    for cell in result.plain.cells:
        truth = step_seconds(cell.batch, 0, 0, cell.batch * cell.context_tokens, 0)
        assert cell.microseconds * 1e-6 == pytest.approx(truth, rel=0.02)
        assert cell.samples >= 10


@pytest.mark.parametrize(
    ("engine", "seconds", "reason"),
    [
        (FakeEngine(max_draft_tokens=3), 30.0, "speculates all the same"),
        (FakeEngine(max_draft_tokens=0), 0.0, "no cell was measured"),
        (FakeEngine(max_draft_tokens=0, refuse="too long"), 30.0, "no cell was measured"),
    ],
    ids=["still speculating", "no time", "refused"],
)
def test_whatever_goes_wrong_the_first_result_stays(
    engine: FakeEngine,
    seconds: float,
    reason: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the log says why there is no more."""
    caplog.set_level("INFO")
    status, text = run(engine, tmp_path, monkeypatch, seconds)
    assert status == 1
    assert decode(text) == first_result()
    assert reason in caplog.text


@dataclass
class StubMeter:
    """Measures in virtual time."""

    seconds: float
    refused: int = 0
    now: float = 0.0
    visited: list[CellPlan] = field(default_factory=list)

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        assert draft_tokens == (0,)
        assert slow == last
        self.visited.append(plan)
        if plan.batch == self.refused:
            raise CellError("vLLM answered 400")
        self.now += self.seconds
        return [record(plan, 0) for _ in range(5 * rounds)]


def model() -> LatencyModel:
    result = first_result()
    return to_model(LatencyDocument(cells=result.cells, fit=result.fit))


def test_cells_that_would_take_the_time_are_left_out_and_what_is_refused_is_passed_over() -> None:
    """By what the first run knows of prefill; the others are measured as far as the time goes."""
    plans = [CellPlan(1, 136, 100), CellPlan(2, 136, 100), CellPlan(64, 8200, 100), CellPlan(4, 136, 100)]
    meter = StubMeter(1.0, refused=2)
    cells = PlainSweep(meter, plans, model(), 60.0, clock=lambda: meter.now).run()
    assert [plan.batch for plan in meter.visited] == [1, 2, 4]
    assert [cell.batch for cell in cells] == [1, 4]
    slow = StubMeter(60.0)
    assert len(PlainSweep(slow, plans, model(), 60.0, clock=lambda: slow.now).run()) == 1


def test_a_cell_is_the_median_of_clean_steps_without_hiccups() -> None:
    """Too few steps are none."""
    plan = CellPlan(2, 136, 100)
    clean = [replace(record(plan, 0), interval_seconds=0.010, kv_tokens=400) for _ in range(9)]
    hiccup = replace(clean[0], interval_seconds=0.1)
    other = replace(clean[0], decodes=1, interval_seconds=0.001)
    cell = plain_cell(plan, [*clean, hiccup, other])
    assert cell is not None
    assert (cell.batch, cell.context_tokens, cell.microseconds, cell.samples) == (2, 200, 10_000, 9)
    assert plain_cell(plan, clean[:2]) is None
