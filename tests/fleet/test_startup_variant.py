"""Whether new pods start plain: only by what has been recommended for long enough, and never by what is not known."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.builders import NOW
from turbospec.fleet.startup_variant import (
    LEAST_SECONDS,
    LONGEST_ROUND_SECONDS,
    MOST_SECONDS,
    SCOUT_AFTER_SECONDS,
    SCOUT_AGAIN_SECONDS,
    SCOUT_LOSS,
    SCOUTS_ONE_OF,
    SHARE_OF_LIFE,
    StartedPod,
    VariantMemory,
    begin,
    observe,
    patience_seconds,
)
from turbospec.fleet.worth import Worth

SAVES, LOSES, EITHER = Worth(0.1, 0.2), Worth(-0.2, -0.1), Worth(-0.1, 0.1)
HOUR = 3600.0


def drafting(uid: str = "a", age: float = 0.0, **changes: object) -> StartedPod:
    return replace(StartedPod(uid, NOW - age, plain=False, answers=True), **changes)  # type: ignore[arg-type]


def plain(uid: str, age: float = 0.0) -> StartedPod:
    return StartedPod(uid, NOW - age, plain=True, answers=True)


@dataclass
class Target:
    """A target whose rounds go by."""

    memory: VariantMemory
    now: float = NOW

    def goes(
        self, seconds: float, worth: Worth | None, *pods: StartedPod, round_seconds: float = 30.0
    ) -> VariantMemory:
        end = self.now + seconds
        while self.now < end:
            self.now += min(round_seconds, end - self.now)
            self.memory = observe(self.memory, worth, pods, self.now)
        return self.memory


def living(life: float, *, plain: bool = False) -> Target:
    """A target whose pods have lived so long on average; one new pod is there."""
    known = replace(begin(NOW, plain=plain), lives=4, mean_life_seconds=life)
    return Target(observe(known, None, [drafting()], NOW))


@pytest.mark.parametrize("to_plain", [True, False])
@pytest.mark.parametrize("life", [HOUR, 6 * HOUR])
def test_a_change_takes_half_of_a_mean_life(life: float, *, to_plain: bool) -> None:
    target, worth = living(life, plain=not to_plain), LOSES if to_plain else SAVES
    assert target.goes(SHARE_OF_LIFE * life - 31.0, worth, drafting()).plain is not to_plain
    after = target.goes(60.0, worth, drafting())
    assert after.plain is to_plain
    assert after.since_seconds == pytest.approx(NOW + SHARE_OF_LIFE * life, abs=31.0)


@pytest.mark.parametrize(
    ("life", "ages", "was_plain", "patience"),
    [
        (60.0, [0.0], False, LEAST_SECONDS),
        (30 * 24 * HOUR, [0.0], False, MOST_SECONDS),
        (None, [HOUR], False, MOST_SECONDS),
        (None, [HOUR], True, MOST_SECONDS),
        (HOUR, [8 * HOUR, 4 * HOUR], False, 3 * HOUR),
        (HOUR, [8 * HOUR, 4 * HOUR], True, HOUR / 2),
    ],
    ids=["short lives", "long lives", "none has gone", "nor from plain", "old ones stay", "plain can be taken back"],
)
def test_patience_goes_by_lives(life: float | None, ages: list[float], patience: float, *, was_plain: bool) -> None:
    """Pods at the bottom of the scale live for days: on the way to what cannot be taken back they count."""
    known = begin(NOW, plain=was_plain)
    if life is not None:
        known = replace(known, lives=4, mean_life_seconds=life)
    seen = observe(known, None, [drafting(str(i), age) for i, age in enumerate(ages)], NOW)
    assert patience_seconds(seen, NOW) == patience


def test_lives_are_learnt_from_pods_that_went() -> None:
    """A surge of pods that lived for twenty minutes, whichever of them goes first."""
    surge = [drafting(f"s{i}", age=600.0 + 60.0 * i) for i in range(4)]
    target = Target(observe(begin(NOW, plain=False), None, [drafting("old", 9 * HOUR), *surge], NOW))
    target.goes(600.0, None, drafting("old", 9 * HOUR), *surge, round_seconds=600.0)
    after = target.goes(1.0, None, drafting("old", 9 * HOUR))
    assert after.lives == 4
    assert after.mean_life_seconds == pytest.approx(1200.0 + 90.0 + 1.0)


@pytest.mark.parametrize("other", [SAVES, EITHER])
def test_what_breaks_off_begins_anew(other: Worth) -> None:
    target = living(2 * HOUR)
    target.goes(0.9 * HOUR, LOSES, drafting())
    target.goes(30.0, other, drafting())
    assert not target.goes(0.9 * HOUR, LOSES, drafting()).plain
    assert target.goes(0.2 * HOUR, LOSES, drafting()).plain


def test_what_is_unknown_neither_breaks_nor_counts() -> None:
    target = living(2 * HOUR, plain=True)
    target.goes(0.9 * HOUR, SAVES, drafting())
    assert target.goes(5 * HOUR, None, drafting()).plain
    assert target.goes(0.05 * HOUR, SAVES, drafting()).plain
    assert not target.goes(0.1 * HOUR, SAVES, drafting()).plain


def test_what_happened_while_nobody_looked_counts_for_a_minute_at_most() -> None:
    """An operator that was away for a day, or a clock that was set."""
    target = living(2 * HOUR)
    after = target.goes(24 * HOUR, LOSES, drafting(), round_seconds=24 * HOUR)
    assert (after.plain, after.recommended_seconds) == (False, LONGEST_ROUND_SECONDS)
    back = observe(after, LOSES, [drafting()], NOW - 24 * HOUR)
    assert back.recommended_seconds == LONGEST_ROUND_SECONDS


def all_plain(pods: int) -> Target:
    members = [plain(str(i)) for i in range(pods)]
    return Target(observe(begin(NOW, plain=True), None, members, NOW))


def test_among_plain_pods_one_of_many_is_a_scout_after_an_hour() -> None:
    """One leave at a time, which is renewed where no scout shows up, and ends with the first one that does."""
    members = [plain(str(i)) for i in range(SCOUTS_ONE_OF - 1)]
    target = all_plain(SCOUTS_ONE_OF - 1)
    assert target.goes(SCOUT_AFTER_SECONDS - 60.0, None, *members).scout_seconds is None
    asked = target.goes(90.0, None, *members).scout_seconds
    assert asked is not None
    assert target.goes(SCOUT_AGAIN_SECONDS / 2, None, *members).scout_seconds == asked
    again = target.goes(SCOUT_AGAIN_SECONDS, None, *members).scout_seconds
    assert again is not None
    assert again > asked
    scout = drafting("scout", answers=False)
    assert target.goes(30.0, None, *members, scout).scout_seconds is None
    # It is gone, and was heard: an hour, and as many new pods, until the next one.
    target.goes(30.0, None, *members, drafting("scout"))
    assert target.goes(2 * SCOUT_AFTER_SECONDS, None, *members).scout_seconds is None


def test_the_more_drafts_cost_the_longer_nobody_looks_whether_they_still_do() -> None:
    members = [plain(str(i)) for i in range(SCOUTS_ONE_OF - 1)]
    target = all_plain(SCOUTS_ONE_OF - 1)
    target.goes(30.0, Worth(-0.4, -3.0 * SCOUT_LOSS), *members)
    assert target.goes(4.0 * SCOUT_AFTER_SECONDS - 60.0, None, *members).scout_seconds is None
    assert target.goes(90.0, None, *members).scout_seconds is not None
    maybe = all_plain(SCOUTS_ONE_OF - 1)
    maybe.goes(30.0, EITHER, *members)
    assert maybe.goes(SCOUT_AFTER_SECONDS, None, *members).scout_seconds is not None


def test_few_plain_pods_have_no_scout_and_speculative_ones_need_none() -> None:
    assert all_plain(2).goes(3 * SCOUT_AFTER_SECONDS, None, plain("0"), plain("1")).scout_seconds is None
    mixed = [*(plain(str(i)) for i in range(20)), drafting("old")]
    target = Target(observe(begin(NOW, plain=True), None, mixed, NOW))
    assert target.goes(3 * SCOUT_AFTER_SECONDS, None, *mixed).scout_seconds is None
    assert target.goes(3 * SCOUT_AFTER_SECONDS, EITHER, *mixed).scout_seconds is None


WORTHS = st.sampled_from([SAVES, LOSES, EITHER, None])
PODS = st.lists(
    st.builds(
        StartedPod,
        uid=st.sampled_from("abcdef"),
        created_seconds=st.floats(NOW - 1e6, NOW + 1e6),
        plain=st.sampled_from([True, False, None]),
        answers=st.booleans(),
    ),
    unique_by=lambda pod: pod.uid,
    max_size=4,
)
SPELLS = st.lists(st.tuples(st.integers(1, 20), st.floats(-100.0, 4000.0), WORTHS, PODS), max_size=5)
"""So many rounds, each so long, of the same worth and pods."""
ROUNDS = SPELLS.map(lambda spells: [spell for count, *spell in spells for _ in range(count)])


@given(rounds=ROUNDS)
def test_it_never_flaps(rounds: list[list[Any]]) -> None:
    """Whatever comes: two changes are apart by the least patience, of time that was watched and asked for the other."""
    memory, now, asked = begin(NOW, plain=False), NOW, 0.0
    for elapsed, worth, pods in rounds:
        now += elapsed
        before, memory = memory, observe(memory, worth, pods, now)
        asked += min(max(0.0, elapsed), LONGEST_ROUND_SECONDS)
        if memory.plain is not before.plain:
            assert asked >= LEAST_SECONDS
            assert worth is (LOSES if memory.plain else SAVES)
            asked = 0.0
        if worth is None or worth is EITHER:
            assert memory.plain is before.plain


@given(order=st.permutations(range(20)))
@settings(max_examples=20)
def test_the_order_of_pods_does_not_matter(order: list[int]) -> None:
    """Also of those that go at once, more than a mean life is the mean of."""

    def known(numbers: Iterable[int]) -> VariantMemory:
        pods = [drafting(str(number), age=600.0 * number, plain=number % 3 > 0) for number in numbers]
        return observe(observe(begin(NOW, plain=True), SAVES, pods, NOW), SAVES, pods[:0], NOW + 30.0)

    assert known(order) == known(range(20))
