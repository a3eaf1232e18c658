"""A target holds or not by all days of tuning together, and days that cannot change that are not run."""

from typing import Any

import pytest

from benchmarks.fleet import cases
from benchmarks.fleet.cases import TUNING_SEEDS, Case


class Run:
    """A day of an arm whose misses are the target's business and, by day, its own."""

    def __init__(self, target: float, seed: int) -> None:
        self.target, self.seed = target, seed

    def as_json(self) -> dict[str, Any]:
        worse = {101: 3.0}.get(self.seed, 0.0)
        share = min(0.05, 0.01 * worse * self.target)
        return {
            "arm": "plain",
            "target": self.target,
            "seed": self.seed,
            "replicaSeconds": 3600.0 / self.target,
            "requests": {"arrived": 1000},
            "misses": {"requests": round(1000 * share), "share": share},
        }


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[tuple[float, int]]:
    """What was run, in the order of it: target and seed. A day may miss what those before have left of the three's."""
    found: list[tuple[float, int]] = []

    def run(_given: object, _arm: str, _metric: object, target: float, *, seed: int, most_misses: float | None) -> Run:
        if seed in TUNING_SEEDS:
            before = sum(Run(target, day).as_json()["misses"]["share"] for day in TUNING_SEEDS[: seed - 100])
            assert most_misses == pytest.approx(0.03 - before, abs=0.005)
        else:
            assert most_misses is None
        found.append((target, seed))
        return Run(target, seed)

    monkeypatch.setattr(cases, "run", run)
    monkeypatch.setattr(cases, "RESULTS", tmp_path)
    return found


def test_the_target_is_the_highest_that_all_tuning_days_together_hold(ran: list[tuple[float, int]]) -> None:
    """One of three days misses 3% of its requests at target 1: together they miss 1%."""
    cases.measure(Case("diurnal", "static:1", "expectedPods"), (0, 1), "test")
    judged = [target for target, seed in ran if seed not in TUNING_SEEDS]
    assert len(judged) == 2
    assert judged[0] == judged[1] == pytest.approx(1.0, rel=0.02)


def test_days_that_cannot_change_the_verdict_are_not_run(ran: list[tuple[float, int]]) -> None:
    cases.measure(Case("diurnal", "static:1", "expectedPods"), (), "test")
    for target in {target for target, _ in ran}:
        seeds = [seed for other, seed in ran if other == target]
        assert seeds == list(TUNING_SEEDS if round(30 * target) <= 30 else TUNING_SEEDS[:2])
