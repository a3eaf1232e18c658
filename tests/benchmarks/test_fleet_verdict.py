"""What the fleet benchmark makes of its rows."""

from typing import Any

import pytest

from benchmarks.fleet.verdict import AUTO, AUTO_PRESERVED, LEFT_ALONE, PRESERVED, RUNNING, WANTED, parts
from turbospec.simulation.fleet.files import MetricName

SEEDS = range(5)
HOURS = {
    ("turbospec", WANTED): 8.2,
    ("oracle", RUNNING): 8.0,
    ("plain", RUNNING): 11.0,
    ("plain", WANTED): 10.0,
    ("static:best", WANTED): 8.3,
    (LEFT_ALONE, RUNNING): 9.0,
}


def rows(hours: dict[tuple[str, str], float], oracle_k: float = 1.3, **ours: Any) -> list[dict[str, Any]]:
    """Five days of each arm, the first a little dearer; ``ours`` changes TurboSpec's."""
    found = []
    for (arm, metric), mean in hours.items():
        for seed in SEEDS:
            row = {
                "scenario": "day",
                "case": arm,
                "arm": "static:1" if arm == "static:best" else arm,
                "metric": metric,
                "target": 0.9,
                "seed": seed,
                "tuning": False,
                "replicaSeconds": 3600.0 * mean * (1.01 if seed == 0 else 1.0),
                "misses": {"share": 0.005, "timePerOutputToken": 5, "timeToFirstToken": 0},
                "scaleEvents": 10,
                "draftTokenOscillations": 0,
                "meanDraftTokens": oracle_k if arm == "oracle" else 1.0,
                "recommended": "Speculative",
                "replicasSaved": [0.15, 0.25],
            }
            found.append(row | (ours if arm == "turbospec" else {}))
    return found


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, set()),
        ({"turbospec": 8.45}, {1, 2}),
        ({"static:best": 8.0}, {2}),
    ],
    ids=["all met", "too little saved", "a fixed K is better"],
)
def test_targets_are_judged_on_the_best_plain_and_the_best_arm(change: dict[str, float], missed: set[int]) -> None:
    hours = {key: change.get(key[0], mean) for key, mean in HOURS.items()}
    assert {part.line for part in parts(rows(hours), "day") if not part.met} == missed


@pytest.mark.parametrize(
    ("ours", "missed"),
    [({"draftTokenOscillations": 1}, {4}), ({"scaleEvents": 12}, {3})],
    ids=["K goes to and fro", "pods come and go"],
)
def test_what_disturbs_is_judged_too(ours: dict[str, Any], missed: set[int]) -> None:
    assert {part.line for part in parts(rows(HOURS, **ours), "day") if not part.met} == missed


@pytest.mark.parametrize(
    ("said", "saved", "met"), [("Plain", [-0.3, -0.1], True), ("Either", [-0.1, 0.1], False)], ids=["said", "unsure"]
)
def test_where_an_oracle_runs_plain_that_must_be_said(said: str, saved: list[float], met: bool) -> None:
    """And the plain pods, on our series, are held against the best arm."""
    hours = HOURS | {("plain", WANTED): 8.1, ("oracle", RUNNING): 7.9}
    found = parts(rows(hours, oracle_k=0.0, recommended=said, replicasSaved=saved), "day")
    assert [part.met for part in found if part.line == 1] == [met]
    assert [part.met for part in found if part.line == 2] == [True]


@pytest.mark.parametrize("who", [PRESERVED, AUTO_PRESERVED])
@pytest.mark.parametrize(("takes", "missed"), [(10.9, set()), (11.05, set()), (11.3, {6})])
def test_an_autoscaler_that_is_preserved_may_cost_one_percent(who: str, takes: float, missed: set[int]) -> None:
    latency = MetricName.INTER_TOKEN_LATENCY.value
    hours = HOURS | {("plain", latency): 11.0, (who, latency): takes}
    assert {part.line for part in parts(rows(hours), "day") if not part.met} == missed


@pytest.mark.parametrize("who", [LEFT_ALONE, AUTO])
@pytest.mark.parametrize(("takes", "missed"), [(10.9, set()), (11.05, {6})])
def test_an_autoscaler_that_is_left_alone_may_cost_nothing(who: str, takes: float, missed: set[int]) -> None:
    assert {part.line for part in parts(rows(HOURS | {(who, RUNNING): takes}), "day") if not part.met} == missed


def test_who_misses_more_is_no_rival() -> None:
    """Fewer pods are no art then."""
    worse = [
        row | {"misses": row["misses"] | {"share": 0.02}} if row["case"] == "static:best" else row
        for row in rows(HOURS | {("static:best", WANTED): 7.0})
    ]
    assert {part.line for part in parts(worse, "day") if not part.met} == set()


def test_nothing_is_judged_before_it_is_there() -> None:
    assert not parts(rows({("turbospec", WANTED): 8.0, ("plain", WANTED): 9.0}), "day")
