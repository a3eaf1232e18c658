"""Who of several operators leads, as a state machine over one Lease: no I/O, and the clock is given.

The rules of client-go's leader election, with one more: every term has a number of its own, the Lease's
``leaseTransitions``, which is also the epoch of our control documents. So engines refuse the documents of an earlier
term even where its leader has not noticed its end.

No clock is compared with another machine's. A Lease has run out when it has not changed for its duration since *we*
first saw it so; a leader counts its own time from *before* it sent the renewal. As the renewal is stored after it was
sent and seen after it was stored, the leader's time is over first, by a third of the duration, whatever is delayed.
"""

from dataclasses import dataclass, replace

RENEW_SHARE = 2 / 3
"""Share of the Lease's duration after which a leader that could not renew stops: client-go's 10 s of 15 s."""

RETRY_SHARE = 2 / 15
"""Pause between two looks at the Lease, as a share of its duration: client-go's 2 s of 15 s."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says. ``holder`` is empty where its last leader gave it back."""

    holder: str
    term: int
    renewed: str
    """The holder's own renewTime: not compared with any clock, only with what it was before."""
    seconds: float | None = None
    """For how long the holder claims it after each renewal; None where it does not say."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Write our name into the Lease, with this term, if it is still as it was read."""

    term: int
    new: bool
    """Whether this starts a term, rather than renewing the one that we lead."""


class Election:
    """One candidate's view. ``consider`` says what to write, ``won`` that it is written; times are seconds of a clock
    that never stops or goes back."""

    def __init__(self, identity: str, lease_seconds: float) -> None:
        self.identity = identity
        self.lease_seconds = lease_seconds
        self._seen: LeaseRecord | None = None
        self._seen_at = 0.0
        self._term: int | None = None
        self._leads_until = 0.0
        self._lost = False

    @property
    def retry_seconds(self) -> float:
        """How long to wait between two looks."""
        return self.lease_seconds * RETRY_SHARE

    @property
    def term(self) -> int | None:
        """The number of the term that was won; None before."""
        return self._term

    @property
    def holder(self) -> str | None:
        """Who leads, as last seen; None where nobody does."""
        return (self._seen.holder or None) if self._seen is not None else None

    def seconds_left(self, now: float) -> float:
        """For how long we may still act as the leader; 0 where we may not. Once 0 after a term, it stays so."""
        if self._term is None or self._lost:
            return 0.0
        return max(0.0, self._leads_until - now)

    def consider(self, record: LeaseRecord | None, now: float) -> Claim | None:
        """What to write, now that the Lease was read so; ``record`` is None where there is none. None is: wait."""
        self._see(record, now)
        if self._term is not None:
            if self.seconds_left(now) <= 0.0 or (record is not None and not self._is_ours(record)):
                self._lost = True
                return None
            return Claim(self._term, new=False)
        if record is None:
            return Claim(1, new=True)
        if self._is_free(record, now):
            return Claim(record.term + 1, new=True)
        return None

    def won(self, claim: Claim, sent_at: float) -> None:
        """The API server has stored a claim that was sent no earlier than ``sent_at``."""
        if not self._lost:
            self._term = claim.term
            self._leads_until = max(self._leads_until, sent_at + self.lease_seconds * RENEW_SHARE)

    def _see(self, record: LeaseRecord | None, now: float) -> None:
        if record != self._seen:
            self._seen, self._seen_at = record, now

    def _is_ours(self, record: LeaseRecord) -> bool:
        return (record.holder, record.term) == (self.identity, self._term)

    def _is_free(self, record: LeaseRecord, now: float) -> bool:
        """Given back, run out, or of our own name: then its process, a former container of this pod, has ended."""
        claimed = self.lease_seconds if record.seconds is None else record.seconds
        return record.holder in ("", self.identity) or now - self._seen_at >= claimed


def released(record: LeaseRecord) -> LeaseRecord:
    """The record of a leader that leaves: the next one need not wait."""
    return replace(record, holder="")
