"""What is written of an engine without its drafter."""

from benchmarks.profiles.plain_start import report
from tests.operator.samples import profile_result
from turbospec.wire.plain_engine import PlainCell, PlainEngine


def test_every_cell_has_its_row_beside_the_engine_at_zero() -> None:
    """A step that takes half as long without the drafter is faster by 100%."""
    result = profile_result()
    halves = [
        PlainCell(batch=one.batch, context_tokens=one.context_tokens, microseconds=one.microseconds // 2, samples=9)
        for one in result.cells
        if one.draft_tokens == 0
    ]
    plain = PlainEngine(cells=halves, kv_cache_tokens=110_000, start_seconds=40)
    lines = report(result.model_copy(update={"plain": plain, "start_seconds": 55}), 100.0)
    assert "110000 tokens without speculation, 100000 with it; start 40 s and 55 s" in lines[1]
    assert "+100.0% in the median" in lines[1]
    rows = [line.strip("| ").split(" | ") for line in lines if line.endswith("+100% |")]
    assert [row[:2] for row in rows] == [["1", "256"], ["4", "256"], ["16", "256"]]
