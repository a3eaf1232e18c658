"""Tables and hysteresis."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.control.draft_length import DraftTable, choose, restrict

ALLOWED = (0, 1, 3)


def one(goodput: list[float], previous: int | None = None) -> DraftTable:
    """A choice for a single batch."""
    before = None if previous is None else DraftTable((previous, previous))
    return choose(np.array(goodput)[:, None], ALLOWED, before)


@pytest.mark.parametrize(
    ("goodput", "previous", "want", "held"),
    [
        ([100, 110, 105], None, 1, False),
        ([100, 100, 100], None, 0, False),  # equals: the smallest
        ([100, 90, 120], None, 3, False),  # past a drop
        ([100, 101, 99], 0, 0, True),  # within the margin
        ([100, 103, 99], 0, 1, False),  # beyond it
        ([101, 100, 99], 1, 1, True),
        ([110, 100, 99], 7, 0, False),  # a K that is no longer allowed holds nothing
    ],
)
def test_choice(goodput: list[float], previous: int | None, want: int, held: bool) -> None:
    """The best K, unless the one in force is within two percent of it."""
    table = one(goodput, previous)
    assert table.at(1) == want
    assert (1 in table.held) is held


@given(
    st.lists(st.lists(st.floats(0.1, 1e6), min_size=12, max_size=12), min_size=3, max_size=3),
    st.lists(st.sampled_from([0, 1, 3, 5]), min_size=12, max_size=12),
)
def test_entries_are_allowed_and_never_more_than_the_margin_below_the_best(
    goodput: list[list[float]], before: list[int]
) -> None:
    """Hysteresis cannot cost more than its margin."""
    table = choose(np.array(goodput), ALLOWED, DraftTable((before[0], *before)))
    assert len(table.entries) == 13
    for batch in range(1, 13):
        k = table.at(batch)
        column = [row[batch - 1] for row in goodput]
        assert k in ALLOWED
        assert column[ALLOWED.index(k)] >= max(column) / 1.0201


@pytest.mark.parametrize(
    ("table", "allowed", "want"),
    [
        ((0, 5, 5, 2), (0, 1, 3), (3, 3, 3, 1, 1, 1)),
        ((0, 0, 0), (1, 3), (1, 1, 1, 1, 1, 1)),
        ((7,), (0, 7), (7, 7, 7, 7, 7, 7)),
    ],
)
def test_restrict_stays_within_the_allowed(
    table: tuple[int, ...], allowed: tuple[int, ...], want: tuple[int, ...]
) -> None:
    """The largest allowed K not above the wanted one; the last entry goes on beyond the table's end."""
    assert restrict(table, allowed, 5).entries == want


def test_batches_outside_the_table_get_the_nearest_entry() -> None:
    """Zero, negative and larger than the engine's maximum are safe."""
    table = DraftTable((3, 3, 1))
    assert [table.at(batch) for batch in (-5, 0, 1, 2, 3, 10_000)] == [3, 3, 3, 1, 1, 1]


def test_a_k_that_was_left_is_taken_back_only_for_a_clear_lead() -> None:
    """Two K that are as good as each other do not change places for ever; a clear lead still counts."""
    first = choose(np.array([[100.0], [90.0]]), (0, 1), None)
    assert first.at(1) == 0
    second = choose(np.array([[100.0], [101.0]]), (0, 1), first, 0.005, back=0.03)
    assert second.at(1) == 1
    same = choose(np.array([[101.0], [100.0]]), (0, 1), second, 0.005, back=0.03)
    assert same.at(1) == 1
    assert 1 in same.held
    assert choose(np.array([[101.0], [100.0]]), (0, 1), replace(same, left=None), 0.005, back=0.03).at(1) == 0
    assert choose(np.array([[104.0], [100.0]]), (0, 1), same, 0.005, back=0.03).at(1) == 0


@pytest.mark.parametrize(
    ("goodput", "excess", "recent", "chosen"),
    [
        ((100.0, 108.0), None, (), 1),
        ((100.0, 108.0), None, (1,), 0),
        ((100.0, 150.0), None, (1,), 0),
        ((100.0, 108.0), None, (0,), 1),
        ((120.0, 100.0), (1.02, 0.95), (), 1),
        ((120.0, 100.0), (1.12, 0.95), (1,), 0),
        ((100.0, 120.0), (1.25, 1.40), (1,), 0),
        ((100.0, 120.0), (1.25, 1.40), (), 1),
    ],
    ids=[
        "it may come", "not so soon", "not for half as much again", "another one was left", "a ceiling is missed",
        "missed, and it was left", "both miss it, and it was left", "both miss it: the one that delivers most",
    ],
)  # fmt: skip
def test_a_k_that_was_just_left_does_not_come_back(
    goodput: tuple[float, ...], excess: tuple[float, ...] | None, recent: tuple[int, ...], chosen: int
) -> None:
    """K = 0 is in force; neither what it delivers nor a ceiling is worth going to and fro."""
    missing = None if excess is None else np.array(excess)[:, None]
    table = choose(np.array(goodput)[:, None], (0, 1), DraftTable((0, 0)), 0.02, missing, recent=recent)
    assert table.at(1) == chosen
    assert (1 in table.held) is (chosen == 0)
