"""The order of the closed-loop benchmark's windows."""

from collections import Counter
from itertools import groupby, pairwise, product

import pytest

from benchmarks.engine.closed_loop_schedule import (
    ARMS,
    DRAFT_TOKENS,
    FULL,
    LOOP,
    PAIRED_CLIENTS,
    PLAIN_ARM,
    QUICK,
    ROUNDS_PER_VISIT,
    START_SECONDS,
    STEERED,
    TABLES,
    Table,
    expected_seconds,
    schedule,
)


def test_the_arms_are_the_loop_and_every_fixed_length_and_a_plain_server_at_the_largest() -> None:
    """K=0, K=max and a static K without table are among them."""
    assert [arm.name for arm in ARMS if not arm.fixed] == [LOOP.name]
    assert tuple(arm.pinned for arm in ARMS if arm.fixed and arm.server == STEERED) == DRAFT_TOKENS
    assert (DRAFT_TOKENS[0], PLAIN_ARM.pinned) == (0, max(DRAFT_TOKENS))


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_arm_has_one_window_at_every_point_in_every_round(table: Table) -> None:
    """Nothing can be paired otherwise."""
    points = table.points
    found = Counter((window.point, window.arm, window.round) for window in schedule(points, 3, seed=5))
    assert found == Counter(product(points, ARMS, range(3 * ROUNDS_PER_VISIT)))


def test_a_drift_during_a_visit_falls_on_all_steered_arms_alike() -> None:
    """Their second round runs backwards; the plain server's windows come before or after, as often as not."""
    points = TABLES["dial"].points
    windows = schedule(points, 2, seed=1)
    visits = [list(group) for _, group in groupby(windows, key=lambda w: (w.point, w.round // ROUNDS_PER_VISIT))]
    assert len(visits) == 2 * len(points)
    for visit in visits:
        steered = [window.arm for window in visit if window.arm.server == STEERED]
        assert steered == steered[::-1]
    plain_first = Counter(visit[0].arm is PLAIN_ARM for visit in visits)
    assert plain_first[True] == plain_first[False]


def test_only_one_server_has_load_and_few_clients_send_every_arm_the_same() -> None:
    """Clients begin anew where the server or the point changes; few of them with every window, of equal seed."""
    windows = schedule(TABLES["dial"].points, 2, seed=3)
    for before, after in pairwise(windows):
        moved = before.arm.server != after.arm.server or before.point != after.point
        assert after.anew == (moved or after.point.clients <= PAIRED_CLIENTS)
    few = [window for window in windows if window.point.clients <= PAIRED_CLIENTS]
    seeds = {(window.point, window.round): set[str]() for window in few}
    for window in few:
        seeds[window.point, window.round].add(window.seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len({seed for found in seeds.values() for seed in found}) == len(seeds)


def test_a_seed_gives_one_order_and_another_seed_another() -> None:
    """A run can be repeated."""
    points = TABLES["dial"].points
    assert schedule(points, 2, seed=1) == schedule(points, 2, seed=1) != schedule(points, 2, seed=2)


def test_both_tables_fit_into_forty_minutes_and_a_sample_into_four() -> None:
    """Profiling runs and starts of the servers included."""
    paces = [(table, FULL[name]) for name, table in TABLES.items()]
    full = sum(
        expected_seconds(schedule(table.points, pace.passes, 1), pace, table) + pace.profile_seconds + 2 * START_SECONDS
        for table, pace in paces
    )
    dial = TABLES["dial"]
    quick = expected_seconds(schedule(dial.quick_points, QUICK.passes, 1), QUICK, dial)
    assert full <= 40 * 60
    assert quick + QUICK.profile_seconds + 2 * START_SECONDS <= 4.5 * 60


def test_more_passes_go_on_where_earlier_ones_ended() -> None:
    """Rounds of two runs never carry the same number, and the second run is no repetition of the first."""
    points = TABLES["smollm2"].points
    first, more = schedule(points, 2, seed=1), schedule(points, 2, seed=1, first_pass=2)
    assert {window.round for window in first} == {0, 1, 2, 3}
    assert {window.round for window in more} == {4, 5, 6, 7}
    assert [window.point for window in first] != [window.point for window in more]
