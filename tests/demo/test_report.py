"""The demo's report says what was measured and nothing else."""

from dataclasses import replace

import pytest

from e2e.demo.phases import Phase
from e2e.demo.report import DemoResult, WindowResult, broken_promises, build_report
from e2e.demo.samples import summarise

PHASE = Phase("code-1", 1, "dial:0.9", 1.0)


def windows(arm: str, *goodputs: float, phase: str = "code-1") -> list[WindowResult]:
    return [WindowResult(n, arm, phase, goodput, 3.0, 0.8, 1.0) for n, goodput in enumerate(goodputs)]


RESULT = DemoResult(
    model="dial",
    machine="2 cores",
    engines=2,
    phases=(PHASE,),
    windows=windows("turbospec", 90, 100, 10) + windows("off", 50, 40, 60) + windows("fixed", 95, 80, 100),
    timeline=(),
    failed_requests=0,
    profiling_jobs=1,
    profile_reused=False,
    window_seconds=2,
    seconds=3.04,
)


def test_goodput_is_the_median_of_the_rounds_and_all_rounds_are_kept() -> None:
    """One bad round does not decide, and is not hidden either."""
    phase = build_report(RESULT)["phases"][0]
    assert phase["name"] == "code-1"
    assert phase["clients"] == 1
    assert phase["goodputTokensPerSecond"] == 90
    assert phase["offGoodputTokensPerSecond"] == 50
    assert phase["fixedGoodputTokensPerSecond"] == 95
    assert phase["ratioToBetter"] == pytest.approx(90 / 95, abs=1e-3)
    assert phase["rounds"]["turbospec"] == [90, 100, 10]


def test_a_kept_promise_is_not_questioned() -> None:
    """0.95 of the better, one Job, no failures."""
    assert broken_promises(build_report(RESULT)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"failed_requests": 2}, "2 requests failed"),
        ({"profiling_jobs": 2}, "2 profiling Jobs"),
        ({"profiling_jobs": 0}, "0 profiling Jobs"),
        ({"profile_reused": True}, "1 profiling Jobs"),
        ({"windows": [*windows("turbospec", 80), *windows("off", 50), *windows("fixed", 95)]}, "below 0.9"),
        ({"windows": [*windows("turbospec", 80), *windows("off", 50)]}, "not every arm was measured"),
    ],
)
def test_a_broken_promise_is_said(change: dict[str, object], words: str) -> None:
    """The demo never calls a failure a success."""
    assert any(words in problem for problem in broken_promises(build_report(replace(RESULT, **change))))  # type: ignore[arg-type]


def step(decided: int, decodes: int, drafted: list[int], accepted: list[int]) -> dict[str, object]:
    return {
        "decided_draft_tokens": decided,
        "decodes": decodes,
        "drafted_per_position": drafted,
        "accepted_per_position": accepted,
        "generated_tokens": decodes + sum(accepted),
    }


def test_k_and_batch_are_means_over_the_steps_that_decoded() -> None:
    """A step that only prefills has neither."""
    summary = summarise([step(5, 2, [2, 2], [2, 1]), step(0, 0, [0, 0], [0, 0]), step(1, 4, [4, 0], [1, 0])])
    assert summary.mean_draft_tokens == 3
    assert summary.mean_batch == 3
    assert summary.acceptance_rate == pytest.approx(4 / 8)
    assert summary.generated_tokens == 5 + 5


def test_nothing_drafted_is_unknown_acceptance_not_zero() -> None:
    """K = 0 says nothing of how predictable the text is."""
    summary = summarise([step(0, 2, [0, 0], [0, 0])])
    assert summary.acceptance_rate is None
    assert summary.mean_draft_tokens == 0
    assert summarise([]).mean_draft_tokens is None
