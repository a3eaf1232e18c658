"""``turbospec profile watch``: percent and remaining time of profiling Jobs, from their pods' own words."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.fake_api import FakeApi
from tests.fleet.builders import MODEL
from tests.profiling.test_sweep import PLANS, StubMeter
from tests.profiling.test_sweep import run as run_sweep
from turbospec.control.step import StepRecord
from turbospec.profiling import beside_vllm
from turbospec.profiling.client import ServingClient
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.plain import PlainSweep
from turbospec.profiling.progress import LINE_FORMAT, last_said

KEY = "0ff1c5dcc8b54597"
JOB = f"turbospec-profile-{KEY}"
VLLM = "INFO 11-23 08:25:00 [metrics.py:1] Engine 000: Avg generation throughput: 37% of something, 12 s left\n"


def printed(run: Callable[[], object]) -> str:
    """The pod's log while ``run`` uses the profiling run's own loggers, with vLLM's lines between and after theirs."""
    stream, logger = StringIO(), logging.getLogger("turbospec")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(LINE_FORMAT))
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with suppress(Ended):
            run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return VLLM + stream.getvalue().replace("\n", f"\n{VLLM}")


class Ended(Exception):  # noqa: N818 - no error
    """The log is read now."""


@dataclass
class EndingMeter(StubMeter):
    """Measures three cells in virtual time, ten seconds each; the log is read while the next one is measured."""

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        if len(self.visited) == 3:
            raise Ended
        return super().measure(plan, draft_tokens, rounds, slow=slow, last=last)


def sweeping() -> str:
    """The log of a sweep of 240 s after 30."""
    return printed(lambda: run_sweep(EndingMeter(seconds_per_round=5.0), 240.0))


def sweeping_plain() -> str:
    """The log of the second start, after 30 of 60 s."""
    meter = EndingMeter(seconds_per_round=10.0)
    return printed(lambda: PlainSweep(meter, PLANS, MODEL, 60.0, clock=lambda: meter.now).run())


def waiting() -> str:
    """The log of a run that waits for vLLM, which is looked at twenty seconds later each time."""
    clock = iter(range(0, 100, 20))

    def healthy(_: object) -> bool:
        if next(clock) >= 60:
            raise Ended
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("turbospec.profiling.beside_vllm.time.sleep", lambda _: None)
        patch.setattr("turbospec.profiling.beside_vllm.time.monotonic", lambda: next(clock))
        patch.setattr(ServingClient, "healthy", healthy)
        return printed(lambda: beside_vllm.wait_until_healthy(ServingClient(1), 1000.0))


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "team", "name": JOB, "uid": "job-1", "labels": {"turbospec.io/profiling-key": KEY}},
        "status": {"conditions": list(conditions)},
    }


def pod(**status: Any) -> dict[str, Any]:
    owner = {"uid": "job-1", "kind": "Job", "name": JOB}
    return {
        "metadata": {"namespace": "team", "name": f"{JOB}-x", "ownerReferences": [owner]},
        "status": {"phase": "Running", **status},
    }


COMPLETE = {"type": "Complete", "status": "True"}
FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}


@pytest.mark.parametrize(
    ("run", "message", "percent", "left"),
    [
        (sweeping, "12% visit 4: batch ", 12, 210),
        (sweeping_plain, "50% without speculation, visit 4: batch ", 50, 30),
        (waiting, "waiting for vLLM to serve, ", None, None),
        (lambda: VLLM, "", None, None),
        (str, "", None, None),
    ],
    ids=["sweep", "second start", "before", "vLLM only", "nothing"],
)
def test_the_runs_last_line_tells_percent_and_seconds(
    run: Callable[[], str], message: str, percent: int | None, left: int | None
) -> None:
    """As the run itself prints it; vLLM's own lines, beside and after it, do not."""
    said = last_said(run())
    assert said.message.startswith(message)
    assert (said.percent, said.seconds_left) == (percent, left)
    assert bool(said.message) == bool(message)


def test_what_is_known_of_the_accuracy_hides_neither() -> None:
    """It is behind the seconds in the same line."""
    meter = StubMeter(seconds_per_round=5.0, noise=dict.fromkeys((1, 2, 4, 8, 16, 32), 0.15))
    log = printed(lambda: run_sweep(meter, 80.0))
    told = [last_said(line) for line in log.splitlines() if "regret" in line and "at most" in line]
    assert told
    assert all(said.percent is not None and said.seconds_left is not None for said in told)


def test_a_running_job_shows_percent_and_remaining_seconds(api: FakeApi, run: Run) -> None:
    """As a table, and for programs."""
    api.add(job(), "jobs")
    api.add(pod(), "pods")
    api.logs[f"{JOB}-x"] = sweeping()
    result = run("watch", "--once")
    assert result.exit_code == 0, result.output
    row = result.stdout.splitlines()[1]
    assert row.split()[:5] == ["team", JOB, "Running", "12%", "210"]
    (found,) = json.loads(run("watch", "-A", "-o", "json").stdout)
    assert (found["job"], found["key"], found["percent"], found["secondsLeft"]) == (JOB, KEY, 12, 210)


@pytest.mark.parametrize(
    ("pods", "log", "message"),
    [
        ([], None, "its pod is not there yet"),
        ([pod(phase="Pending")], None, "is Pending"),
        (
            [pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}])],
            None,
            "is Pending: 0/3 nodes",
        ),
        (
            [
                pod(
                    phase="Pending",
                    containerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such tag"}}}],
                )
            ],
            None,
            "is Pending: ErrImagePull: no such tag",
        ),
        ([pod()], "INFO starting\n", "vLLM starts"),
        ([pod()], None, "cannot read the log of pod"),
    ],
)
def test_a_job_that_says_nothing_yet_is_told_of_by_its_pod(
    api: FakeApi, run: Run, pods: list[dict[str, Any]], log: str | None, message: str
) -> None:
    """No percent is made up."""
    api.add(job(), "jobs")
    for each in pods:
        api.add(each, "pods")
    if log is not None:
        api.logs[f"{JOB}-x"] = log
    (found,) = json.loads(run("watch", "-o", "json").stdout)
    assert message in found["message"]
    assert (found["percent"], found["secondsLeft"]) == (None, None)


@pytest.mark.parametrize(("condition", "status", "phase"), [(COMPLETE, 0, "Succeeded"), (FAILED, 1, "Failed")])
def test_watch_follows_until_the_job_has_ended(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, *, condition: dict[str, str], status: int, phase: str
) -> None:
    """A line for each change where nobody looks at a terminal; its end is the command's."""
    api.add(job(), "jobs")
    api.add(pod(), "pods")
    api.logs[f"{JOB}-x"] = sweeping()
    rounds = []

    def pause(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            api.add(job(condition), "jobs")

    monkeypatch.setattr("turbospec.cli.profile.watching.time.sleep", pause)
    result = run("watch")
    assert result.exit_code == status
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["Running:", f"{phase}:"]
    assert "210 s left" in lines[0]


def test_without_jobs_watch_ends_at_once(api: FakeApi, run: Run) -> None:
    """And says so."""
    for arguments in (("watch",), ("watch", "--once")):
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (0, "No profiling Jobs found.\n")
    assert not api.objects
