"""The whole run against an engine over real HTTP: what comes out is what the engine's step times are made of."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.profiling.fake_engine import IDENTITY, TOKEN, FakeEngine, serve, step_seconds
from turbospec.profiling import beside_vllm, runner
from turbospec.profiling.codec import ReportedFailureError, decode
from turbospec.profiling.load import LoadGenerator, Wave
from turbospec.profiling.variables import AGAIN
from turbospec.wire.engine_state import Unsupported
from turbospec.wire.profile_result import ProfileResult


def run(engine: FakeEngine, folder: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[int, str]:
    """Exit status and termination message of a run against ``engine``."""
    message = folder / "termination-log"
    with serve(engine) as port:
        variables = {
            "TURBOSPEC_TOKEN": TOKEN, "TURBOSPEC_PROFILE_PORT": str(port), "TURBOSPEC_CONTROL_PORT": str(port),
            "TURBOSPEC_TERMINATION_LOG": str(message), "TURBOSPEC_PROFILE_SECONDS": "15",
        }  # fmt: skip
        for name, value in (variables | environment).items():
            monkeypatch.setenv(name, value)

        class Load(LoadGenerator):
            def start(self, bodies: Sequence[bytes]) -> Wave:
                engine.awaited = len(bodies)
                return super().start(bodies)

        monkeypatch.setattr(runner, "LoadGenerator", Load)
        status = runner.main()
    return status, message.read_text()


def relative_errors(result: ProfileResult) -> list[float]:
    """Each cell's time against the truth at the cell's own composition."""
    errors = []
    for cell in result.cells:
        b, k = cell.batch, cell.draft_tokens
        truth = step_seconds(b, b * k, 0, b * cell.context_tokens, k)
        errors.append(abs(cell.microseconds * 1e-6 / truth - 1.0))
    return errors


def test_recovers_the_step_times_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell is within 2% of the truth, the range is covered, and K are compared at equal batch and context."""
    engine = FakeEngine()
    status, text = run(engine, tmp_path, monkeypatch)
    result = decode(text)
    assert status == 0
    assert max(relative_errors(result)) < 0.02
    assert {cell.batch for cell in result.cells} >= {1, 2, 4, 8}
    points = {(cell.batch, cell.context_tokens) for cell in result.cells}
    assert len(result.cells) == 4 * len(points)
    assert result.hold_out_error_permille <= 20
    assert result.identity == IDENTITY
    assert result.kv_cache_tokens == engine.kv_cache_tokens
    assert result.coverage is not None
    assert "; ended by " in result.coverage


def test_prompts_that_run_together_share_no_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that shared blocks of KV cache would read less of it than real ones do."""
    engine = FakeEngine(max_num_seqs=4)
    run(engine, tmp_path, monkeypatch, TURBOSPEC_PROFILE_SECONDS="3")
    assert engine.most_alike_together == 1
    assert max(record.decodes for record in engine.records) == 4


def test_only_the_wanted_draft_lengths_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no policy uses is not paid for; the ends of the range always are."""
    engine = FakeEngine(max_num_seqs=2, max_draft_tokens=5)
    environment = {"TURBOSPEC_PROFILE_DRAFT_TOKENS": "0,1,3", "TURBOSPEC_PROFILE_SECONDS": "3"}
    environment["TURBOSPEC_PROFILE_BEGAN"] = str(time.monotonic() - 50)
    status, text = run(engine, tmp_path, monkeypatch, **environment)
    assert status == AGAIN, "there is time for a second start"
    assert (decode(text).start_seconds or 0) >= 50
    assert {cell.draft_tokens for cell in decode(text).cells} == {0, 1, 3, 5}
    assert set(engine.forced) == {0, 1, 3, 5}


def test_hiccups_and_partial_drafts_do_not_move_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step in fifteen takes five times as long and one draft in some is short: cells stay within 3%."""
    short = iter(range(10**9))
    engine = FakeEngine(
        noise=lambda seq: 5.0 if seq % 15 == 7 else 1.0 + 0.01 * (seq * 7919 % 11 - 5) / 5,
        yield_of=lambda k: max(0, k - 1) if next(short) % 9 == 0 else k,
    )
    status, text = run(engine, tmp_path, monkeypatch)
    assert status == 0
    assert max(relative_errors(decode(text))) < 0.03


def test_a_small_kv_cache_is_measured_with_short_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where eight requests share 1,400 tokens, all batches are still measured: the engine admits no more than fit."""
    engine = FakeEngine(kv_cache_tokens=1400, max_num_seqs=8)
    status, text = run(engine, tmp_path, monkeypatch)
    result = decode(text)
    assert status == 0
    assert {cell.batch for cell in result.cells} >= {1, 2, 4, 8}


@pytest.mark.parametrize(
    ("engine", "environment", "reason"),
    [
        (
            FakeEngine(unsupported=Unsupported(code="DataParallel", message="ranks would wait")),
            {},
            r"cannot be steered: ranks would wait \(DataParallel\)",
        ),
        (FakeEngine(kv_cache_tokens=40), {}, "KV cache of 40 tokens holds no request worth measuring"),
        (FakeEngine(refuse="prompt too long"), {}, "vLLM last refused: vLLM answered HTTP/1.0 400 .*: prompt too long"),
        (FakeEngine(yield_of=lambda _k: 0), {}, "no cell has 3 clean steps.*proposes almost nothing"),
        (FakeEngine(), {"TURBOSPEC_PROFILE_SECONDS": "soon"}, "TURBOSPEC_PROFILE_SECONDS is 'soon', expected a number"),
        (FakeEngine(), {"TURBOSPEC_PROFILE_DRAFT_TOKENS": "0;3"}, "DRAFT_TOKENS is '0;3', expected numbers separated"),
        (FakeEngine(), {"TURBOSPEC_TOKEN": "wrong"}, "runtime does not answer in the engine: .* 401"),
        (
            FakeEngine(),
            {"TURBOSPEC_PROFILE_PORT": "1", "TURBOSPEC_PROFILE_START_SECONDS": "1"},
            "vLLM did not answer /health on port 1 within 1 s",
        ),
    ],
)  # fmt: skip
def test_a_failed_run_says_why(
    engine: FakeEngine, environment: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, and one line of reason in the termination message."""
    monkeypatch.setattr(beside_vllm, "CONTROL_SECONDS", 0.2)
    monkeypatch.setattr(beside_vllm, "POLL_SECONDS", 0.05)
    status, text = run(engine, tmp_path, monkeypatch, **{"TURBOSPEC_PROFILE_SECONDS": "1"} | environment)
    assert status == 1
    with pytest.raises(ReportedFailureError, match=reason):
        decode(text)


def test_the_runner_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """vLLM may be killed at any time: nothing keeps sending requests, and the message says what happened."""
    message = tmp_path / "termination-log"
    program = (
        "import os, subprocess, sys, time\n"
        "environment = {**os.environ, 'TURBOSPEC_PROFILE_PARENT': str(os.getpid())}\n"
        "child = subprocess.Popen([sys.executable, '-m', 'turbospec.profiling.runner'], env=environment)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(Path(runner.__file__).parents[2]), "TURBOSPEC_TOKEN": TOKEN,
        "TURBOSPEC_PROFILE_PORT": "1", "TURBOSPEC_TERMINATION_LOG": str(message),
    }  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(lambda: message.exists() and message.stat().st_size > 0)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text())
    with pytest.raises(ReportedFailureError, match="vLLM ended before it served"):
        decode(message.read_text())


def wait_for(condition: Callable[[], bool]) -> None:
    """Until the condition holds, at most 30 seconds."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
