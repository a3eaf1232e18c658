"""The second start: the same command once more, in the same process id, with nothing left of the first."""

from pathlib import Path

import pytest

from tests.operator.samples import profile_result
from tests.profiling.test_launch import gone, vllm
from turbospec.profiling.codec import decode, encode
from turbospec.profiling.processes import original_environment
from turbospec.profiling.second_start import LEAST_SECONDS, has_time

VLLM = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
started = launch.start()
print("start", os.getpid(), child.pid, "LEFT_BY_VLLM" in os.environ, sys.argv[1:], flush=True)
os.environ["LEFT_BY_VLLM"] = "1"
time.sleep(3600)
"""

RUNNER = """
import os, sys, time
print("run", sys.argv[1], os.environ.get("TURBOSPEC_PROFILE_PLAIN", "-"), flush=True)
time.sleep(0.3)
sys.exit(64 if sys.argv[1].endswith(".runner") else 0)
"""


def lines(output: str, word: str) -> list[list[str]]:
    """The words of the lines that begin with ``word``."""
    return [line.split()[1:] for line in output.splitlines() if line.startswith(f"{word} ")]


def test_the_command_is_started_again_and_nothing_of_the_first_start_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what vLLM wrote into its environment. The second runner is told until when; the run succeeds."""
    (tmp_path / "message").write_text(encode(profile_result()))
    monkeypatch.setenv("TURBOSPEC_TERMINATION_LOG", str(tmp_path / "message"))
    process = vllm(VLLM, tmp_path, RUNNER)
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    first, second = lines(output, "start")
    assert int(first[0]) == process.pid, "the container lives by this process"
    assert (first[2:], second[2:]) == (second[2:], first[2:]), "same arguments, same environment"
    assert gone(int(first[1]))
    assert gone(int(second[1]))
    (one, nothing), (two, until) = lines(output, "run")
    assert (one, nothing) == ("turbospec.profiling.runner", "-")
    assert two == "turbospec.profiling.plain_runner"
    assert float(until) > 0


def test_a_second_start_that_takes_too_long_is_ended_and_the_run_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first result stays as it was."""
    message = tmp_path / "message"
    message.write_text(encode(profile_result()))
    monkeypatch.setenv("TURBOSPEC_TERMINATION_LOG", str(message))
    monkeypatch.setenv("TURBOSPEC_PROFILE_PLAIN_SECONDS", "-1000")
    process = vllm(VLLM, tmp_path, RUNNER.replace("time.sleep(0.3)", SLOW))
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    assert "took too long" in output
    assert all(gone(int(words[1])) for words in lines(output, "start"))
    assert decode(message.read_text()) == profile_result()


SLOW = "time.sleep(0.3 if sys.argv[1].endswith('.runner') else 3600)"


@pytest.mark.parametrize(
    ("start", "duration", "budget", "enough"),
    [
        (40, 200, 300.0, True),
        (40, 240, 300.0, True),
        (40, 241, 300.0, False),
        (200, 100, 300.0, False),
        (200, 100, 600.0, True),
        (None, 10, 300.0, False),
        (1, 1, 0.0, False),
    ],
)
def test_there_is_a_second_start_where_it_fits_into_the_time(
    start: int | None, duration: int, budget: float, *, enough: bool
) -> None:
    """As long as the first one, and a little to measure."""
    assert LEAST_SECONDS == 20.0
    result = profile_result().model_copy(update={"start_seconds": start, "duration_seconds": duration})
    assert has_time(result, budget) is enough


def test_an_environment_that_was_overwritten_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's copy of this process's lacks the variable of a profiling run, as after a change of its title."""
    monkeypatch.setenv("TURBOSPEC_PROFILE", "1")
    assert original_environment(marked_by="TURBOSPEC_PROFILE")["TURBOSPEC_PROFILE"] == "1"
