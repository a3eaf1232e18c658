"""The decoding requests of a simulated engine, kept in arrays so that a step costs the same for 1 and for 256."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbospec.simulation.text import TextBank
from turbospec.simulation.workload import Request


@dataclass(frozen=True, slots=True)
class Drafts:
    """The drafts that a step verifies. ``widths`` is None where every request has ``asked`` of them."""

    asked: int
    total: int
    per_position: tuple[int, ...]
    widths: NDArray[np.int8] | None = None

    @property
    def passes(self) -> int:
        """Draft passes behind them: positions at which any request got a token."""
        return sum(count > 0 for count in self.per_position)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What verifying them gave."""

    generated_tokens: int
    accepted_per_position: tuple[int, ...]


class DecodeBatch:
    """Up to ``size`` decoding requests. Each reads its text at its own place, and ends where its output ends."""

    def __init__(self, bank: TextBank, size: int, max_draft_tokens: int) -> None:
        self.requests: list[Request] = []
        """In the order of the arrays."""
        self.kv_tokens = 0
        """Tokens of all contexts."""
        self.tokens_sum = np.zeros(max_draft_tokens + 1)
        """By K: tokens that these requests get from a step on average (ground truth, for the oracle)."""
        self.drafted_sum = np.zeros(max_draft_tokens + 1)
        """By K: draft tokens that they get on average."""
        self._bank = bank
        self._most = max_draft_tokens
        self._place = np.zeros(size, dtype=np.int64)
        self._end = np.zeros(size, dtype=np.int64)
        self._until = 0
        """No request ends before this many more tokens."""
        self._full: dict[tuple[int, int], Drafts] = {}
        self._none = (0,) * max_draft_tokens

    def __len__(self) -> int:
        return len(self.requests)

    def add(self, request: Request) -> None:
        """A request that has its first ``generated`` tokens decodes from the next step on."""
        i = len(self.requests)
        left = request.output_tokens - request.generated
        self._place[i] = request.place + request.generated
        self._end[i] = request.place + request.output_tokens
        self._until = min(self._until, left) if i else left
        self.requests.append(request)
        self.kv_tokens += request.prompt_tokens + request.generated
        self.tokens_sum += request.text.tokens
        self.drafted_sum += request.text.drafted

    def remove(self, i: int) -> Request:
        """Take out the request at index ``i``; the last one takes its place."""
        request, last = self.requests[i], self.requests.pop()
        request.generated = min(int(self._place[i]) - request.place, request.output_tokens)
        if last is not request:
            self.requests[i] = last
            self._place[i], self._end[i] = self._place[len(self.requests)], self._end[len(self.requests)]
        self.kv_tokens -= request.prompt_tokens + request.generated
        if self.requests:
            self.tokens_sum -= request.text.tokens
            self.drafted_sum -= request.text.drafted
        else:
            self.tokens_sum[:], self.drafted_sum[:] = 0.0, 0.0
        return request

    def progress(self) -> list[int]:
        """Tokens that each request has so far, in the order of ``requests``."""
        return [
            place - r.place for place, r in zip(self._place[: len(self.requests)].tolist(), self.requests, strict=True)
        ]

    def drafts(self, asked: int, budget: int) -> Drafts:
        """What was proposed at K = ``asked``; cut where decodes and drafts would exceed ``budget`` tokens."""
        n = len(self.requests)
        fits = n * (1 + asked) <= budget
        if n and asked and not (fits and self._bank.always_drafts):
            widths = np.minimum(self._bank.drafted.take(self._place[:n]), asked)
            if not fits:
                room = budget - n - np.cumsum(widths, dtype=np.int64) + widths
                widths = np.clip(room, 0, widths).astype(np.int8)
            longer = self._longer_than(widths)
            return Drafts(asked, sum(longer), longer, widths)
        found = self._full.get((n, asked))
        if found is None:
            drafted = asked if n else 0
            longer = (n,) * drafted + (0,) * (self._most - drafted)
            found = self._full[n, asked] = Drafts(asked, n * drafted, longer)
        return found

    def verify(self, drafts: Drafts) -> Delivered:
        """Every request gets its accepted draft tokens and one more; ``ended`` afterwards says which are done."""
        n = len(self.requests)
        if drafts.total == 0:
            self._place[:n] += 1
            self._until -= 1
            self.kv_tokens += n
            return Delivered(n, self._none)
        accepted = self._bank.accepted.take(self._place[:n])
        np.minimum(accepted, drafts.asked if drafts.widths is None else drafts.widths, out=accepted)
        longer = self._longer_than(accepted)
        self._place[:n] += accepted
        self._place[:n] += 1
        self._until -= 1 + drafts.asked
        generated = n + sum(longer)
        self.kv_tokens += generated
        return Delivered(generated, longer)

    def ended(self) -> tuple[list[Request], int]:
        """Take out the requests that have all their tokens; also how many tokens were delivered beyond their ends."""
        if self._until > 0 or not self.requests:
            return [], 0
        left = self._end[: len(self.requests)] - self._place[: len(self.requests)]
        done = np.flatnonzero(left <= 0)
        beyond = -int(left[done].sum())
        self.kv_tokens -= beyond
        # From the back, so that a request that moves into a gap is never one that has ended.
        requests = [self.remove(i) for i in reversed(done.tolist())]
        left = left[left > 0]
        self._until = int(left.min()) if len(left) else 0
        return requests, beyond

    def _longer_than(self, lengths: NDArray[np.int8]) -> tuple[int, ...]:
        """For each position j, how many lengths exceed j."""
        counts = np.bincount(lengths, minlength=self._most + 1).tolist()
        total, result = 0, []
        for count in counts[:0:-1]:
            total += count
            result.append(total)
        return tuple(reversed(result))
