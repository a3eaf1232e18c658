"""The demo's picture."""

from pathlib import Path
from typing import Any

from e2e.demo.plot import draw, stretches


def point(seconds: float, phase: str, k: float | None = 3.0) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "phase": phase,
        "draft_tokens": k,
        "batch": 4.0,
        "acceptance_rate": None,
        "tokens_per_second": 100.0,
    }


POINTS = [point(1, "a"), point(2, "a", None), point(3, "b"), point(4, "b")]


def test_phases_are_shaded_without_gaps() -> None:
    """Each stretch ends where the next begins."""
    assert stretches(POINTS) == [("a", 1, 3), ("b", 3, 4)]


def test_a_picture_is_drawn_even_where_figures_are_unknown(tmp_path: Path) -> None:
    """Unknown moments are gaps in a line, not a reason to have no picture."""
    arms = {"off": [1.0], "fixed": [2.0], "turbospec": [3.0]}
    phases = [
        {"name": name, "offGoodputTokensPerSecond": 50, "fixedGoodputTokensPerSecond": None, "rounds": arms}
        for name in ("a", "b")
    ]
    report = {"engines": 2, "model": "dial", "machine": "here", "timeline": POINTS, "phases": phases}
    draw(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_no_timeline_makes_no_picture(tmp_path: Path) -> None:
    """An empty picture would look like a result."""
    draw({"timeline": []}, tmp_path / "report.png")
    assert not (tmp_path / "report.png").exists()
