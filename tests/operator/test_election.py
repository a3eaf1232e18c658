"""Leader election: never two leaders, whatever is late, lost or asleep; and always one before long."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turbospec_operator.election import Claim, Election, LeaseRecord, released

LEASE = 15.0
OTHER = LeaseRecord("other", 4, "t0", LEASE)


def leader(now: float = 100.0, term: int = 5) -> Election:
    """One that has just won."""
    election = Election("me", LEASE)
    election.won(Claim(term, new=True), now)
    return election


@pytest.mark.parametrize(
    ("record", "claim"),
    [
        (None, Claim(1, new=True)),
        (OTHER, None),
        (released(OTHER), Claim(5, new=True)),
        (replace(OTHER, holder="me"), Claim(5, new=True)),
        (LeaseRecord("", 0, ""), Claim(1, new=True)),
    ],
    ids=["no Lease", "held", "given back", "held by our former self", "empty"],
)
def test_a_lease_is_taken_at_once_only_where_nobody_can_hold_it(
    record: LeaseRecord | None, claim: Claim | None
) -> None:
    """A name of ours in it is that of a container that has ended, or of an answer that was lost."""
    assert Election("me", LEASE).consider(record, 100.0) == claim


@pytest.mark.parametrize(
    ("seconds", "after", "free"), [(15.0, 14.9, False), (15.0, 15.0, True), (60.0, 59.0, False), (None, 15.0, True)]
)
def test_a_silent_lease_is_taken_after_the_time_that_its_holder_claims(
    seconds: float | None, after: float, *, free: bool
) -> None:
    """Counted from when we first saw it so; ours where the holder claims none, as earlier versions did."""
    election, record = Election("me", LEASE), replace(OTHER, seconds=seconds)
    assert election.consider(record, 1000.0) is None
    assert (election.consider(record, 1000.0 + after) is not None) is free


def test_a_renewal_by_another_starts_its_time_anew() -> None:
    """However often; its clock, years ahead or behind, counts for nothing."""
    election = Election("me", LEASE)
    for now, renewed in ((0.0, "2099"), (14.0, "1970"), (28.0, "2026")):
        assert election.consider(replace(OTHER, renewed=renewed), now) is None
    assert election.consider(replace(OTHER, renewed="2026"), 28.0 + LEASE) == Claim(5, new=True)


@pytest.mark.parametrize(("after", "left"), [(0.0, 10.0), (9.0, 1.0), (10.0, 0.0), (99.0, 0.0)])
def test_a_leader_that_cannot_renew_stops_before_anybody_may_take_over(after: float, left: float) -> None:
    """After two thirds of the time that the others wait."""
    assert leader(100.0).seconds_left(100.0 + after) == pytest.approx(left)


@pytest.mark.parametrize(
    ("record", "after", "leads"),
    [
        (LeaseRecord("me", 5, "t1", LEASE), 2.0, True),
        (None, 2.0, True),
        (LeaseRecord("me", 6, "t1", LEASE), 2.0, False),
        (OTHER, 2.0, False),
        (released(LeaseRecord("me", 5, "t1", LEASE)), 2.0, False),
        (LeaseRecord("me", 5, "t1", LEASE), 11.0, False),
    ],
    ids=["ours", "deleted", "a later term of our name", "another's", "given back", "too late"],
)
def test_a_leader_renews_its_own_term_and_no_other(record: LeaseRecord | None, after: float, *, leads: bool) -> None:
    """What is lost stays lost: this process ends, and its successor takes a term of its own."""
    election = leader(100.0)
    claim = election.consider(record, 100.0 + after)
    assert claim == (Claim(5, new=False) if leads else None)
    if not leads:
        election.won(Claim(5, new=False), 100.0 + after)
        assert election.seconds_left(100.0 + after) == 0.0


@dataclass
class Store:
    """The API server: one Lease, compare-and-swap by version."""

    record: LeaseRecord | None = None
    version: int = 0

    def write(self, record: LeaseRecord, seen: int) -> bool:
        if seen != self.version:
            return False
        self.record, self.version = record, self.version + 1
        return True


@dataclass
class Operator:
    """A candidate whose reads, writes and answers may each take any time, or never arrive."""

    name: str
    offset: float
    election: Election = field(init=False)
    read: tuple[LeaseRecord | None, int] | None = None
    sent: tuple[Claim, int, float] | None = None
    stored: tuple[Claim, float] | None = None

    def __post_init__(self) -> None:
        self.election = Election(self.name, LEASE)

    def clock(self, now: float) -> float:
        """Clocks of machines run alike and start anywhere."""
        return now + self.offset

    def act(self, what: str, store: Store, now: float) -> None:
        match what:
            case "read":
                self.read = (store.record, store.version)
            case "send" if self.read is not None:
                claim = self.election.consider(self.read[0], self.clock(now))
                self.sent = None if claim is None else (claim, self.read[1], self.clock(now))
                self.read = None
            case "store" if self.sent is not None:
                claim, seen, sent_at = self.sent
                record = LeaseRecord(self.name, claim.term, str(now), LEASE)
                self.stored = (claim, sent_at) if store.write(record, seen) else None
                self.sent = None
            case "answer" if self.stored is not None:
                self.election.won(*self.stored)
                self.stored = None
            case "lose":
                self.stored = None
            case "restart":
                self.__init__(self.name, self.offset)  # type: ignore[misc]  # a new process of the same name


STEPS = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["read", "send", "store", "answer", "lose", "restart", "round", "round"]),
    st.sampled_from([0.0, 0.0, 0.1, 1.0, 4.0, 9.9, 10.0, 14.9, 15.0, 40.0]),
)


@settings(max_examples=400)
@given(st.lists(STEPS, max_size=80))
def test_there_are_never_two_leaders_and_no_term_comes_twice(steps: list[tuple[int, str, float]]) -> None:
    """Three operators, any order of reads, writes, answers, losses, pauses and restarts."""
    store, now = Store(), 0.0
    operators = [Operator(f"operator-{number}", 1e6 * number) for number in range(3)]
    led: dict[int, str] = {}
    for number, what, seconds in steps:
        now += seconds
        for act in ("read", "send", "store", "answer") if what == "round" else (what,):
            operators[number].act(act, store, now)
        leading = [each for each in operators if each.election.seconds_left(each.clock(now)) > 0.0]
        assert len(leading) <= 1
        for each in leading:
            assert each.election.term is not None
            assert led.setdefault(each.election.term, each.name) == each.name
    assert max(led, default=0) <= (store.record.term if store.record else 0)


def test_somebody_leads_soon_after_the_leader_is_gone() -> None:
    """Looking every two seconds, the next one leads within the Lease's time and one look."""
    store, now = Store(), 0.0
    gone, standby = Operator("gone", 0.0), Operator("standby", 77.0)
    for each in ("read", "send", "store", "answer"):
        gone.act(each, store, now)
    while standby.election.term is None:
        for each in ("read", "send", "store", "answer"):
            standby.act(each, store, now)
        now += standby.election.retry_seconds
        assert now <= LEASE + 2 * standby.election.retry_seconds
    assert standby.election.term == 2
