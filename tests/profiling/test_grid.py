"""The plan of the sweep: it covers what the engine may run into, fits its memory, and is useful wherever it stops."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.profiling.grid import SHORTEST_REQUEST, SweepLimits, draft_lengths, plan_between, plan_sweep
from turbospec.profiling.spread import farthest_first

H100 = SweepLimits(
    max_num_seqs=128,
    max_num_batched_tokens=8192,
    max_model_len=16384,
    kv_cache_tokens=450_000,
    allowed_draft_tokens=(0, 1, 3, 7),
)


arbitrary = st.builds(
    SweepLimits,
    max_num_seqs=st.integers(1, 1024),
    max_num_batched_tokens=st.integers(16, 16384),
    max_model_len=st.integers(64, 200_000),
    kv_cache_tokens=st.integers(0, 2_000_000),
    allowed_draft_tokens=st.sets(st.integers(0, 16), min_size=1).map(lambda ks: tuple(sorted(ks))),
    graph_sizes=st.sets(st.integers(1, 1024), max_size=3).map(lambda sizes: tuple(sorted(sizes))),
    kv_block_tokens=st.sampled_from([1, 16, 128]),
)


@given(arbitrary)
def test_every_cell_fits_the_engine(engine: SweepLimits) -> None:
    """No cell can preempt, outgrow the model's length, or end before it decodes; none is planned twice."""
    plans = [*plan_sweep(engine), *plan_between(engine)]
    most_drafts = max(engine.allowed_draft_tokens)
    for cell in plans:
        grown = cell.prompt_tokens + cell.output_tokens + most_drafts
        blocks = -(-grown // engine.kv_block_tokens)
        assert cell.batch * blocks * engine.kv_block_tokens <= engine.kv_cache_tokens
        assert grown <= engine.max_model_len
        assert cell.batch <= engine.max_num_seqs
        assert cell.output_tokens >= SHORTEST_REQUEST // 4
    assert len(set(plans)) == len(plans)


@given(arbitrary)
def test_a_plan_is_bounded_and_a_profile_of_it_fits_the_custom_resource(engine: SweepLimits) -> None:
    """At most 512 latency cells, which is what a SpeculationProfile holds."""
    cells = len(plan_sweep(engine)) + len(plan_between(engine))
    assert cells * len(draft_lengths(engine.allowed_draft_tokens)) <= 512


def test_no_wave_prefills_for_longer_than_forty_full_steps() -> None:
    """Long contexts at large batches are left to the fit; the shortest context is measured at every batch."""
    plans = plan_sweep(replace(H100, max_num_seqs=16, max_num_batched_tokens=128, max_model_len=1024))
    assert (16, 520) not in {(cell.batch, cell.prompt_tokens) for cell in plans}
    assert {(8, 520), (16, 136)} <= {(cell.batch, cell.prompt_tokens) for cell in plans}
    assert {cell.batch for cell in plan_sweep(replace(H100, max_num_batched_tokens=16))} == {2**i for i in range(8)}


def test_between_the_cells_lie_others() -> None:
    """Between powers of two, and the last batch in the largest graph for each K (3 + 1 drafts: 42 of 170 tokens)."""
    engine = replace(H100, max_num_seqs=64, graph_sizes=(1, 2, 4, 170))
    assert [cell.batch for cell in plan_between(engine)] == [3, 6, 12, 21, 24, 42, 48]
    assert {cell.prompt_tokens for cell in plan_between(engine)} == {136}


def test_any_beginning_of_the_plan_covers_the_range() -> None:
    """After four cells: smallest and largest batch, shortest and longest context."""
    first = plan_sweep(H100)[:4]
    assert {1, 128} <= {cell.batch for cell in first}
    contexts = {cell.prompt_tokens for cell in plan_sweep(H100)}
    assert {min(contexts), max(contexts)} <= {cell.prompt_tokens for cell in first}


@pytest.mark.parametrize(
    ("engine", "want"),
    [
        (replace(H100, max_num_seqs=16, max_model_len=1024), {1, 2, 4, 8, 16}),
        (replace(H100, max_num_seqs=24), {1, 2, 4, 8, 16, 24}),
        # Above B * (K + 1) = 512 tokens no graph exists: K=7 is eager from 65, K=3 from 129, K=1 from 257.
        (
            replace(H100, max_num_seqs=300, graph_sizes=(1, 2, 4, 512)),
            {1, 2, 4, 8, 16, 32, 64, 65, 128, 129, 256, 257, 300},
        ),
        (replace(H100, max_num_seqs=16, max_model_len=1024, kv_cache_tokens=1920, kv_block_tokens=128), {1, 2, 4, 8}),
        (replace(H100, kv_cache_tokens=40), set()),
    ],
)
def test_batches(engine: SweepLimits, want: set[int]) -> None:
    """Powers of two, the maximum, just above the largest graph for each K, and nothing that memory forbids."""
    assert {cell.batch for cell in plan_sweep(engine)} == want


@pytest.mark.parametrize(
    ("allowed", "wanted", "want"),
    [
        ((0,), (), (0,)),
        ((0, 1, 3, 7), (), (0, 1, 3, 7)),
        ((0, 1, 2, 3, 4, 5), (), (0, 1, 2, 3, 4, 5)),
        (tuple(range(17)), (), (0, 1, 3, 7, 11, 16)),
        (tuple(range(6)), (0, 1, 3), (0, 1, 3, 5)),
        (tuple(range(6)), (5,), (0, 1, 5)),
        (tuple(range(6)), (9,), (0, 1, 5)),
        ((0, 1, 3, 7), (0, 2, 3), (0, 3, 7)),
    ],
)
def test_draft_lengths(allowed: tuple[int, ...], wanted: tuple[int, ...], want: tuple[int, ...]) -> None:
    """Few K are all measured, of many the ends and some between; wanted ones always where the engine allows them."""
    assert draft_lengths(allowed, wanted) == want


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=30))
def test_spread_order_is_a_permutation(points: list[tuple[int, ...]]) -> None:
    """Every point once, the smallest first, equal points included."""
    order = farthest_first(points)
    assert sorted(order) == list(range(len(points)))
    if points:
        assert points[order[0]] == min(points)
