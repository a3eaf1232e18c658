"""Run the project's checks and tests stage by stage; end with one plain summary line.

    python tools/run_tests.py all|quick|lint|e2e

A stage that fails does not stop the next ones, so that one run tells everything; the exit code is 1 if any failed.
The checks run side by side, the tests of a stage by pytest-xdist; two stages never do, for tests wait and measure.
Stages that install things (real Kubernetes binaries, real vLLM) count as one case; what needs them fails with them.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET  # reads only the JUnit files that our own pytest wrote
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REPORTS = ROOT / "build" / "test-reports"


@dataclass(frozen=True)
class Stage:
    """One command; a pytest stage is counted by its cases, any other as one case. What a quiet one says is of interest
    only where it fails."""

    name: str
    command: tuple[str, ...]
    minutes: float
    is_pytest: bool = False
    is_quiet: bool = False


@dataclass(frozen=True)
class Outcome:
    """How many cases of a stage ended how."""

    passed: int
    failed: int
    skipped: int = 0


@dataclass(frozen=True)
class Ended:
    """A stage that has ended; ``said`` is its output where that was not passed through."""

    outcome: Outcome
    seconds: float
    said: str


def python(*arguments: str) -> tuple[str, ...]:
    """A command of this environment's Python."""
    return (sys.executable, *arguments)


# They take one core each. Collecting is a check too, and it compiles each test module once for all workers that follow.
CHECKS = (
    Stage("ruff check", (str(BIN / "ruff"), "check", "."), 1),
    Stage("ruff format", (str(BIN / "ruff"), "format", "--check", "."), 1),
    Stage("mypy --strict", (str(BIN / "mypy"),), 4),
    Stage("import-linter", (str(BIN / "lint-imports"),), 2),
    Stage("collect the tests", python("-m", "pytest", "--collect-only", "-qq", "tests", "e2e/tests"), 5, is_quiet=True),
)
UNIT = Stage(
    "unit and property tests",
    # Tests differ in length a thousandfold: a worker that is done takes half of what another one has left.
    python(
        "-m", "pytest", "-n", "4", "--dist", "worksteal", "-m", "not apiserver and not vllm and not browser", "tests"
    ),
    15,
    is_pytest=True,
)
KUBERNETES = Stage("build Kubernetes and helm (cached)", python("-m", "e2e.cluster", "build"), 40)
APISERVER = Stage(
    "tests on a real API server",
    # Each worker has an API server of its own; many of these tests wait for leases and time-outs.
    python("-m", "pytest", "-n", "4", "--dist", "worksteal", "-m", "apiserver", "tests"),
    15,
    is_pytest=True,
)
CHROMIUM = Stage("install Chromium (cached)", python("-m", "e2e.chromium"), 10)
BROWSER = Stage(
    "web pages in Chromium",
    # One browser for all of them, which takes both cores.
    python("-m", "pytest", "-m", "browser", "tests/web"),
    10,
    is_pytest=True,
)
VLLM = Stage("install vLLM on CPU (cached)", python("-m", "e2e.vllm.install"), 20)
MODELS = Stage("make models (cached)", python("-m", "e2e.models", "dial", "tiny"), 5)
REAL_VLLM = Stage(
    "tests on real vLLM",
    # A start of vLLM takes one core for half a minute; files share what they have started, and no two of them anything.
    python("-m", "pytest", "-n", "3", "--dist", "loadfile", "-m", "vllm", "tests"),
    15,
    is_pytest=True,
)
E2E = Stage("end-to-end test of the slice", python("-m", "pytest", "e2e/tests"), 40, is_pytest=True)

STAGES: dict[str, tuple[Stage, ...]] = {
    "lint": CHECKS,
    "quick": (*CHECKS, UNIT),
    "e2e": (KUBERNETES, VLLM, MODELS, E2E),
    "all": (*CHECKS, KUBERNETES, UNIT, APISERVER, CHROMIUM, BROWSER, VLLM, MODELS, REAL_VLLM, E2E),
}


def run_all(stages: tuple[Stage, ...]) -> list[Outcome]:
    """Run the checks side by side, then the other stages, each shown under its number in the order given."""
    checks = [stage for stage in stages if stage in CHECKS]
    with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        checked = {stage: pool.submit(execute, stage, 0, subprocess.PIPE) for stage in checks}
        outcomes = []
        for number, stage in enumerate(stages, 1):
            print(f"\n=== [{number}/{len(stages)}] {stage.name}", flush=True)
            ended = checked[stage].result() if stage in checked else execute(stage, number, None)
            if ended.said and (ended.outcome.failed or not stage.is_quiet):
                print(ended.said.rstrip(), flush=True)
            verdict = "FAILED" if ended.outcome.failed else "ok"
            print(f"--- {stage.name}: {verdict} in {ended.seconds:.0f} s", flush=True)
            outcomes.append(ended.outcome)
    return outcomes


def execute(stage: Stage, number: int, output: int | None) -> Ended:
    """Run one stage and count its cases; ``output`` None passes its output through."""
    report = REPORTS / f"{number:02d}.xml"
    command = [*stage.command, f"--junitxml={report}"] if stage.is_pytest else list(stage.command)
    started = time.monotonic()
    said = ""
    try:
        # The limit is generous (noisy machines): it only keeps a hang from eating the whole run.
        ended = subprocess.run(
            command, cwd=ROOT, env=environment(), timeout=stage.minutes * 60, check=False,
            stdout=output, stderr=output and subprocess.STDOUT, text=True,
        )  # fmt: skip
        code, said = ended.returncode, ended.stdout or ""
    except subprocess.TimeoutExpired:
        print(f"{stage.name}: no end after {stage.minutes:.0f} minutes, given up", flush=True)
        code = 124
    outcome = count_cases(report, code) if stage.is_pytest else Outcome(int(code == 0), int(code != 0))
    return Ended(outcome, time.monotonic() - started, said)


def environment() -> dict[str, str]:
    """The environment of every stage; .pyc files are wanted (vLLM starts twice as fast with them)."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def count_cases(report: Path, code: int) -> Outcome:
    """Count the cases of a JUnit report. A run without a readable report, or without a case, is one failure."""
    if not report.exists():
        return Outcome(0, 1)
    suite = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - our own file, see the import
    cases, bad, skipped = (int(suite.get("tests", 0)), *(int(suite.get(key, 0)) for key in ("failures", "skipped")))
    bad += int(suite.get("errors", 0))
    if cases == 0 or (code != 0 and bad == 0):
        return Outcome(max(cases - skipped, 0), 1, skipped)
    return Outcome(cases - bad - skipped, bad, skipped)


def main() -> int:
    """Run the stages named on the command line."""
    choice = sys.argv[1] if len(sys.argv) == 2 else ""
    if choice not in STAGES:
        print(f"usage: run_tests.py {'|'.join(STAGES)}", file=sys.stderr)
        return 2
    REPORTS.mkdir(parents=True, exist_ok=True)
    for old in REPORTS.glob("*.xml"):
        old.unlink()
    stages = STAGES[choice]
    outcomes = run_all(stages)
    failed = [stage.name for stage, outcome in zip(stages, outcomes, strict=True) if outcome.failed]
    if failed:
        print("\nfailed: " + "; ".join(failed))
    totals = [sum(getattr(outcome, field) for outcome in outcomes) for field in ("passed", "failed", "skipped")]
    skipped = f", {totals[2]} skipped" if totals[2] else ""
    print(f"\n{totals[0]} passed, {totals[1]} failed{skipped}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
