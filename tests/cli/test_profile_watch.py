"""``turbospec profile watch``: percent and remaining time of profiling Jobs, from their pods' own words."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.fake_api import FakeApi
from turbospec.cli.profile.progress import said

KEY = "0ff1c5dcc8b54597"
JOB = f"turbospec-profile-{KEY}"
LOG = """INFO 11-23 08:24:51 [api_server.py:1] Starting vLLM API server
2026-11-23 08:24:52,123 turbospec:   0% cell 1 of 24: batch 1, prompt 136 tokens, about 240 s left
INFO 11-23 08:25:00 [metrics.py:1] Engine 000: Avg generation throughput: 37% of something, 12 s left
2026-11-23 08:25:09,456 turbospec:  12% cell 4 of 24: batch 8, prompt 136 tokens, about 133 s left
INFO 11-23 08:25:10 [metrics.py:1] Engine 000: Running: 8 reqs
"""


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
    ("log", "wanted"),
    [
        (LOG, ("12% cell 4 of 24: batch 8, prompt 136 tokens, about 133 s left", 12, 133)),
        (
            LOG + "x turbospec: again: batch 2, prompt 264 tokens (medians known to 1.9%), at most 41 s left\n",
            ("again: batch 2, prompt 264 tokens (medians known to 1.9%), at most 41 s left", None, 41),
        ),
        (
            "x turbospec: waiting for vLLM to serve, 30 s so far\n",
            ("waiting for vLLM to serve, 30 s so far", None, None),
        ),
        ("INFO starting\n", ("", None, None)),
        ("", ("", None, None)),
    ],
)
def test_the_runners_last_line_tells_percent_and_seconds(log: str, wanted: tuple[str, int | None, int | None]) -> None:
    """vLLM's own lines, beside and after it, do not."""
    assert said(log) == wanted


def test_a_running_job_shows_percent_and_remaining_seconds(api: FakeApi, run: Run) -> None:
    """As a table, and for programs."""
    api.add(job(), "jobs")
    api.add(pod(), "pods")
    api.logs[f"{JOB}-x"] = LOG
    result = run("watch", "--once")
    assert result.exit_code == 0, result.output
    row = result.stdout.splitlines()[1]
    assert row.split()[:5] == ["team", JOB, "Running", "12%", "133"]
    (found,) = json.loads(run("watch", "-A", "-o", "json").stdout)
    assert (found["job"], found["key"], found["percent"], found["secondsLeft"]) == (JOB, KEY, 12, 133)


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
    api.logs[f"{JOB}-x"] = LOG
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
    assert "133 s left" in lines[0]


def test_without_jobs_watch_ends_at_once(api: FakeApi, run: Run) -> None:
    """And says so."""
    for arguments in (("watch",), ("watch", "--once")):
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (0, "No profiling Jobs found.\n")
    assert not api.objects
