"""From the raw log of the closed-loop benchmark to its summary and its table."""

from typing import Any

import pytest

from benchmarks.engine.closed_loop_report import MIX_TARGET, POINT_TARGET, summarise, table_rows
from benchmarks.engine.closed_loop_schedule import ARMS, LOOP

FACTS = {"rounds": 2, "windowSeconds": 3.5}


def window(point: str, arm: str, number: int, rate: float) -> dict[str, Any]:
    """A line of the raw log: 10 s at this many tokens per second, of which half were drafted and accepted."""
    return {
        "table": "dial", "point": point, "style": point.rpartition("-")[0], "clients": int(point.rpartition("-")[2]),
        "arm": arm, "round": number, "tokens": round(10 * rate), "promptTokens": 100, "seconds": 10.0,
        "meanDraftTokens": 3.0 if arm == LOOP.name else 1.0, "meanBatch": 1.0, "draftTokens": round(10 * rate),
        "acceptedTokens": round(5 * rate), "failedRequests": 0, "excludedSeconds": 1.5, "clientsBegan": True,
    }  # fmt: skip


def log(loop: float) -> list[dict[str, Any]]:
    """Two points, two rounds; every fixed K delivers 100 tokens/s at each point."""
    return [
        window(point, arm.name, number, loop if arm is LOOP else 100.0)
        for point in ("dial:0.3-16", "dial:0.9-1")
        for arm in ARMS
        for number in range(2)
    ]


@pytest.mark.parametrize(("loop", "points", "mix"), [(110.0, True, True), (100.0, True, False), (90.0, False, False)])
def test_a_target_is_met_by_the_lower_bound(loop: float, points: bool, mix: bool) -> None:
    """Of each point and of the mix, each with its own target."""
    assert (POINT_TARGET, MIX_TARGET) == (0.93, 1.05)
    summary = summarise(log(loop), FACTS)
    assert [point["met"] for point in summary["points"]] == [points, points]
    assert summary["mix"]["met"] is mix
    assert summary["mix"]["lower"] == pytest.approx(loop / 100)


def test_points_are_in_the_order_of_the_table_whatever_the_order_of_the_windows() -> None:
    """The mix comes last; K is that of the loop, acceptance that of all drafts."""
    summary = summarise(log(100.0), FACTS)
    heading, rows = table_rows(summary)
    assert [row[0] for row in rows] == ["dial:0.9-1", "dial:0.3-16", "mix"]
    assert {len(row) for row in rows} == {len(heading)}
    assert [point["meanDraftTokens"] for point in summary["points"]] == [3.0, 3.0]
    assert [point["acceptanceRate"] for point in summary["points"]] == [0.5, 0.5]
    assert (summary["failedRequests"], summary["meanExcludedSeconds"], summary["rounds"]) == (0, 1.5, 2)
