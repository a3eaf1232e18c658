"""Pooling and merging of counts."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.control.counts import MOST_YIELD_SAMPLES, TimestampedCounts, merge, pool


@dataclass(frozen=True)
class Counts:
    """One step's drafts."""

    asked_draft_tokens: int
    drafting_requests: int
    drafted_per_position: tuple[int, ...]
    accepted_per_position: tuple[int, ...]


entries = st.builds(
    lambda seconds, trials, share: TimestampedCounts(seconds, trials, share * trials),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1),
)


@given(st.lists(entries, max_size=12).flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))))
def test_merging_in_any_order_gives_the_same(
    both: tuple[list[TimestampedCounts], list[TimestampedCounts]],
) -> None:
    """To the last bit: pods report in any order."""
    one, other = both
    assert merge(one, now_seconds=1e6, half_life_seconds=60.0) == merge(other, now_seconds=1e6, half_life_seconds=60.0)


@given(st.lists(entries, max_size=12))
def test_merged_hits_never_exceed_trials(made: list[TimestampedCounts]) -> None:
    """Rates stay rates."""
    trials, hits = merge(made, now_seconds=5e5, half_life_seconds=30.0)
    assert 0.0 <= hits <= trials * (1 + 1e-12)


def test_older_counts_weigh_less() -> None:
    """Half per half-life; what comes from the future counts as new."""
    made = [TimestampedCounts(0.0, 8.0, 8.0), TimestampedCounts(60.0, 8.0, 0.0), TimestampedCounts(1e9, 8.0, 4.0)]
    assert merge(made, now_seconds=60.0, half_life_seconds=60.0) == (4.0 + 8.0 + 8.0, 4.0 + 4.0)


@pytest.mark.parametrize(
    "entry",
    [TimestampedCounts(0.0, 1.0, 2.0), TimestampedCounts(0.0, -1.0, -2.0), TimestampedCounts(math.nan, 1.0, 1.0)],
)
def test_impossible_counts_are_refused(entry: TimestampedCounts) -> None:
    """With the numbers in the message."""
    with pytest.raises(ValueError, match="impossible counts"):
        merge([entry], now_seconds=1.0, half_life_seconds=1.0)


def test_a_contradictory_step_is_left_out_and_the_others_count() -> None:
    """More accepted than drafted, beyond what the others hide."""
    good, bad = Counts(1, 4, (4, 0), (2, 0)), Counts(1, 4, (4, 0), (400, 0))
    block, ignored = pool([good, bad, good], 2)
    assert ignored == 1
    assert (block.trials[0], block.hits[0]) == (8.0, 4.0)


def test_one_step_counts_for_a_few_samples_of_the_yield() -> None:
    """Requests of one step find drafts, or none, together; acceptance counts in full."""
    block, _ = pool([Counts(1, 64, (32, 0), (16, 0))], 2)
    assert (block.trials[0], block.hits[0]) == (32.0, 16.0)
    assert (block.trials[2], block.hits[2]) == (MOST_YIELD_SAMPLES, MOST_YIELD_SAMPLES / 2)
