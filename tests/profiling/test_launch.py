"""The launcher: one runner, started by the first process only; the whole process ends with it and leaves nothing."""

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from turbospec.profiling import launch

ROOT = Path(launch.__file__).parents[2]


def vllm(script: str, folder: Path, runner: str) -> subprocess.Popen[str]:
    """A process that loads the plugin as vLLM does, in a world where the runner is ``runner``."""
    stand_in = folder / "overlay" / "sitecustomize.py"
    stand_in.parent.mkdir()
    # Replaces what is spawned, not how: the child is still this interpreter with the environment made by launch.
    (folder / "runner.py").write_text(textwrap.dedent(runner))
    stand_in.write_text(
        "import subprocess\n"
        "original = subprocess.run\n"
        "def run(command, **options):\n"
        "    if command[1:] in (['-m', 'turbospec.profiling.runner'], ['-m', 'turbospec.profiling.plain_runner']):\n"
        f"        command = [command[0], {str(folder / 'runner.py')!r}, command[2]]\n"
        "    return original(command, **options)\n"
        "subprocess.run = run\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": f"{stand_in.parent}:{ROOT}",
        "TURBOSPEC_PROFILE": "1",
        "TMPDIR": str(folder),
    }
    program = "from turbospec.profiling import launch\nimport os, sys, time\n" + textwrap.dedent(script)
    command = [sys.executable, "-c", program, "serve", "--port=8123", "--api-key", "k"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_process_ends_with_the_runner_and_its_status(status: int, tmp_path: Path) -> None:
    """However busy vLLM is: it would serve for an hour, and its children with it."""
    process = vllm(
        """
        import multiprocessing, subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        print("child", child.pid, flush=True)
        assert launch.start()
        time.sleep(3600)
        """,
        tmp_path,
        f"import sys, time; time.sleep(0.5); sys.exit({status})",
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    child = int(output.split("child ")[1].split()[0])
    assert gone(child)


def test_the_runner_gets_the_token_whose_hash_the_engine_gets(tmp_path: Path) -> None:
    """The engine sees the hash only, and no TURBOSPEC_PROFILE that would start another run in a subprocess of vLLM."""
    process = vllm(
        """
        assert launch.start()
        assert not launch.start(), "twice"
        print("hash", os.environ["TURBOSPEC_TOKEN_SHA256"], flush=True)
        print("rest", "TURBOSPEC_TOKEN" in os.environ, "TURBOSPEC_PROFILE" in os.environ, flush=True)
        open(os.environ["TMPDIR"] + "/said", "x").close()
        time.sleep(3600)
        """,
        tmp_path,
        """
        import os, time
        while not os.path.exists(os.environ["TMPDIR"] + "/said"):  # its end is that of the other process
            time.sleep(0.01)
        print("token", os.environ["TURBOSPEC_TOKEN"], os.environ["TURBOSPEC_PROFILE_PORT"], flush=True)
        print("key", os.environ["TURBOSPEC_PROFILE_API_KEY"], "TURBOSPEC_PROFILE" in os.environ, flush=True)
        """,
    )
    output, _ = process.communicate(timeout=60)
    words = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    token, port = words["token"].split()
    assert hashlib.sha256(token.encode()).hexdigest() == words["hash"]
    assert port == "8123"
    assert words["rest"] == "False False"
    assert words["key"] == "k False"


def test_only_the_first_process_starts_a_run(tmp_path: Path) -> None:
    """Engine and worker processes load the plugin too, as children of multiprocessing."""
    process = vllm(
        """
        import multiprocessing
        pool = multiprocessing.get_context("fork").Pool(1)
        print("started", pool.apply(launch.start), flush=True)
        """,
        tmp_path,
        "import sys; sys.exit(9)",
    )
    output, _ = process.communicate(timeout=60)
    assert "started False" in output
    assert process.returncode == 0


def test_nothing_happens_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A serving pod never profiles."""
    monkeypatch.delenv("TURBOSPEC_PROFILE", raising=False)
    assert launch.start() is False


def test_a_runner_that_cannot_start_ends_the_process_with_1(tmp_path: Path) -> None:
    """A Job must fail rather than serve for ever."""
    process = vllm(
        """
        sys.executable = "/nonexistent/python"
        launch.start()
        time.sleep(3600)
        """,
        tmp_path,
        "",
    )
    process.communicate(timeout=60)
    assert process.returncode == 1


def gone(pid: int) -> bool:
    """Whether the process has ended; waits for the kernel to take it away."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
