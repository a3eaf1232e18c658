"""What an engine's traffic says of its step times, cell by cell."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.test_engine_loop import record
from turbospec.control.served_cells import LOT, MEMORY_SAMPLES, MOST_CELLS, CellCollector, pooled


def collected(*steps: object) -> CellCollector:
    collector = CellCollector()
    collector.learn(steps)  # type: ignore[arg-type]
    return collector


def test_a_cell_is_the_mean_of_steps_at_one_k() -> None:
    """Batch, context per request, drafts per request and seconds, of whole lots only."""
    steps = [record(seq, batch=16 + seq % 3, k=3, seconds=0.020 + 0.001 * (seq % 3)) for seq in range(LOT + 1)]
    (cell,) = collected(*steps).cells()
    assert (cell.batch, cell.context_tokens, cell.draft_tokens) == (17, 256, 3)
    assert cell.drafted_per_request == pytest.approx(3.0)
    assert cell.seconds == pytest.approx(0.021)
    assert cell.samples == LOT


@pytest.mark.parametrize(
    "changes",
    [
        {"interval_seconds": None},
        {"prefill_tokens": 5},
        {"decodes": 0},
        {"asked_draft_tokens": 1},
    ],
)
def test_steps_that_say_nothing_of_a_k_are_left_out(changes: dict[str, object]) -> None:
    """As the profiling Job leaves them out."""
    steps = [replace(record(seq), **changes) for seq in range(5 * LOT)]  # type: ignore[arg-type]
    assert collected(*steps).cells() == ()


def test_steps_that_were_held_up_do_not_count() -> None:
    """Longer than half as much again as their lot's lower quartile."""
    steps = [record(seq, seconds=0.2 if seq % LOT == 0 else 0.02) for seq in range(4 * LOT)]
    (cell,) = collected(*steps).cells()
    assert cell.seconds == pytest.approx(0.02)
    assert cell.samples == 4 * (LOT - 1)


def test_a_cell_follows_an_engine_that_has_become_slower() -> None:
    """What is older than its memory fades."""
    steps = [record(seq, seconds=0.02) for seq in range(1000)]
    steps += [record(seq, seconds=0.04) for seq in range(4 * int(MEMORY_SAMPLES))]
    (cell,) = collected(*steps).cells()
    assert cell.seconds == pytest.approx(0.04, rel=0.02)
    assert cell.samples <= MEMORY_SAMPLES


def test_steps_beyond_the_largest_graph_are_cells_of_their_own() -> None:
    """They are dearer, though batch and context are alike."""
    collector = CellCollector(largest_graph=64)
    for batch in (16, 17):
        collector.learn([record(seq, batch=batch, k=3) for seq in range(LOT)])
    assert {(cell.batch, cell.eager) for cell in collector.cells()} == {(16, False), (17, True)}


def test_short_drafts_that_just_fit_a_graph_are_left_out() -> None:
    """A profile's cell is of full drafts, and those would be eager."""
    collector = CellCollector(largest_graph=64)
    short = replace(record(1, batch=17, k=3), verified_draft_tokens=20)
    collector.learn([short] * LOT)
    assert collector.cells() == ()


def test_memory_is_bounded_and_keeps_the_latest() -> None:
    """However far traffic wanders."""
    collector = CellCollector()
    for batch in (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32):
        for context in (1 << power for power in range(2, 14)):
            for k in (0, 1, 3):
                step = replace(record(1, batch=batch, k=k), kv_tokens=batch * context)
                collector.learn([step] * LOT)
    assert len(collector.cells()) == MOST_CELLS
    assert {cell.batch for cell in collector.cells()} == {5, 6, 7, 8, 12, 16, 24, 32}


steps = st.builds(
    lambda batch, k, context, seconds: replace(record(1, batch=batch, k=k, seconds=seconds), kv_tokens=batch * context),
    st.integers(1, 64),
    st.sampled_from([0, 1, 3, 7]),
    st.integers(0, 4000),
    st.floats(1e-4, 10.0),
)


@given(st.lists(steps.flatmap(lambda step: st.just([step] * LOT)), max_size=20), st.integers(1, 64))
def test_save_and_restore_lose_nothing(lots: list[list[object]], batch: int) -> None:
    """Of whole lots, through JSON and back; and learning goes on alike."""
    collector = collected(*(step for lot in lots for step in lot))
    restored = CellCollector()
    restored.restore(json.loads(json.dumps(collector.save())))
    assert restored.cells() == collector.cells()
    for one in (collector, restored):
        one.learn([record(seq, batch=batch) for seq in range(LOT)])
    assert restored.save() == collector.save()


@pytest.mark.parametrize("spoilt", [float("nan"), -1.0, float("inf")])
@pytest.mark.parametrize("place", range(2, 7))
def test_a_spoilt_file_changes_nothing(spoilt: float, place: int) -> None:
    """The engine goes on with what it has."""
    collector = collected(*(record(seq) for seq in range(LOT)))
    (row,) = collector.save()
    row[place] = spoilt
    before = collector.cells()
    with pytest.raises(ValueError, match="impossible"):
        collector.restore([row])
    assert collector.cells() == before


def test_pooled_cells_are_weighted_by_their_samples() -> None:
    """And stay in their cell."""
    rng = random.Random(1)  # noqa: S311  # seeded, no secret
    one, other = (
        collected(*(record(seq, batch=20, seconds=seconds * rng.gauss(1, 0.01)) for seq in range(count))).cells()[0]
        for seconds, count in ((0.02, LOT), (0.03, 3 * LOT))
    )
    both = pooled([one, other])
    assert both.seconds == pytest.approx(0.0275, rel=0.02)
    assert (both.samples, both.key) == (4 * LOT, one.key)
