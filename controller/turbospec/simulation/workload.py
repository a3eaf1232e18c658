"""Which requests arrive when: clients that wait for their answers, Poisson arrivals, and traces."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from turbospec.simulation.files import PhaseSpec, ScenarioError, WorkloadFile
from turbospec.simulation.text import Text, TextBank, uniform

TRACE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
CLIENT_NUMBERS = 1 << 20
"""Request numbers of one client: its requests are the same in every arm, however fast they are answered."""


@dataclass(slots=True, eq=False)
class Request:
    """One request, from its arrival to its last token. Times in simulated seconds."""

    number: int
    arrived: float
    prompt_tokens: int
    output_tokens: int
    text: Text
    place: int
    client: int | None = None
    generated: int = 0
    admission: int = 0
    computed: int = 0
    """Prompt (and, after a preemption, output) tokens whose KV cache is there while it is in prefill."""
    admitted: float | None = None
    preempted: float | None = None
    """When it last lost its KV cache while it decoded: it has had no token since."""
    preemptions: int = 0
    first_token: float | None = None
    finished: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One row of an open-loop source."""

    at: float
    number: int
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Workload:
    """The arrivals of one run. Everything drawn belongs to (seed, request number), so arms see the same requests."""

    spec: WorkloadFile
    path: Path
    """The file it came from: traces lie relative to it, errors name it."""
    seed: int
    max_draft_tokens: int
    end: float = field(init=False)
    starts: list[float] = field(init=False)
    phase: int = field(default=-1, init=False)
    bank: TextBank = field(init=False)
    _traces: dict[int, list[Arrival]] = field(default_factory=dict, init=False)
    _open: Iterator[Arrival] = field(default_factory=lambda: iter(()), init=False)
    _next: Arrival | None = field(default=None, init=False)
    _clients: int = field(default=0, init=False)
    _idle: set[int] = field(default_factory=set, init=False)
    _asked: dict[int, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.starts, now = [], 0.0
        longest = 1
        for number, phase in enumerate(self.spec.phases):
            self.starts.append(now)
            seconds = phase.seconds
            if phase.trace is not None:
                name = f"{self.path}: phases[{number}].trace"
                rows = read_trace(self.path.parent / phase.trace, name, phase.speed or 1.0)
                seconds = seconds or math.nextafter(rows[-1].at, math.inf)
                self._traces[number] = [row for row in rows if row.at < seconds]
                longest = max(longest, *(row.output_tokens for row in rows))
            longest = max(longest, math.ceil((phase.output_tokens or 1) * (1 + phase.length_spread)))
            now += seconds or 0.0
        self.end = now
        self.bank = TextBank(self.seed, self.max_draft_tokens, longest)

    def next_event(self) -> float:
        """When ``advance`` has something to do next; infinite when never."""
        change = self.starts[self.phase + 1] if self.phase + 1 < len(self.starts) else self.end
        if self.phase >= len(self.starts):
            return math.inf
        return min(change, self._next.at) if self._next is not None else change

    def advance(self, now: float) -> list[Request]:
        """The requests that have arrived by now and were not returned before."""
        requests: list[Request] = []
        while self.next_event() <= now:
            arrival = self._next
            change = self.starts[self.phase + 1] if self.phase + 1 < len(self.starts) else self.end
            if arrival is not None and arrival.at < change:
                requests.append(self._request(arrival.at, arrival.number, arrival.prompt_tokens, arrival.output_tokens))
                self._next = next(self._open, None)
            else:
                requests += self._begin(self.phase + 1, change)
        return requests

    def answered(self, client: int | None, now: float) -> Request | None:
        """The client's next request, if it sends one."""
        if client is None:
            return None
        if client >= self._clients:
            self._idle.add(client)
            return None
        return self._ask(client, now)

    def _begin(self, phase: int, now: float) -> list[Request]:
        self.phase = phase
        self._open, self._next, self._clients = iter(()), None, 0
        if phase >= len(self.spec.phases):
            return []
        spec = self.spec.phases[phase]
        if spec.trace is not None:
            before = (phase + 1) << 48
            self._open = (Arrival(now + row.at, before | row.number, *_lengths(row)) for row in self._traces[phase])
        elif spec.poisson_per_second is not None:
            self._open = self._poisson(phase, spec, now)
        self._next = next(self._open, None)
        before, self._clients = len(self._asked), spec.clients or 0
        starting = [client for client in sorted(self._idle) if client < self._clients]
        self._idle.difference_update(starting)
        return [self._ask(client, now) for client in [*starting, *range(before, self._clients)]]

    def _ask(self, client: int, now: float) -> Request:
        asked = self._asked.get(client, 0)
        self._asked[client] = asked + 1
        spec, number = self.spec.phases[self.phase], client * CLIENT_NUMBERS + asked
        request = self._request(now, number, *self._drawn_lengths(spec, number))
        request.client = client
        return request

    def _request(self, at: float, number: int, prompt_tokens: int, output_tokens: int) -> Request:
        text = self.bank.text(self.phase, self.spec.phases[self.phase], number)
        return Request(number, at, prompt_tokens, output_tokens, text, self.bank.place(text, number))

    def _poisson(self, phase: int, spec: PhaseSpec, start: float) -> Iterator[Arrival]:
        rng = np.random.default_rng((self.seed, 4, phase))
        at, number = start, (phase + 1) << 48
        while True:
            at += rng.exponential(1.0 / (spec.poisson_per_second or 1.0))
            yield Arrival(at, number, *self._drawn_lengths(spec, number))
            number += 1

    def _drawn_lengths(self, spec: PhaseSpec, number: int) -> tuple[int, int]:
        prompt, output, spread = spec.prompt_tokens or 1, spec.output_tokens or 1, spec.length_spread
        if not spread:
            return prompt, output
        p, o = (1.0 + spread * (2.0 * uniform(self.seed, number, purpose) - 1.0) for purpose in (4, 5))
        return max(1, round(prompt * p)), max(1, round(output * o))


def read_trace(path: Path, name: str, speed: float = 1.0) -> list[Arrival]:
    """The rows of a trace, by time, the first at 0; times divided by ``speed``, numbered by line.

    ScenarioError, beginning with ``name`` (file and field), where it cannot be used.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name}: {path} cannot be read: {error}") from error
    if not rows or any(column not in rows[0] for column in TRACE_COLUMNS):
        raise ScenarioError(f"{name}: {path} must have rows and the columns {', '.join(TRACE_COLUMNS)}")
    arrivals: list[Arrival] = []
    for line, row in enumerate(rows, 2):
        try:
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC).timestamp() / speed
            prompt, output = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (ValueError, TypeError) as error:
            raise ScenarioError(f"{name}: {path} line {line}: {error}") from error
        arrivals.append(Arrival(at, line, max(1, prompt), max(1, output)))
    arrivals.sort(key=lambda row: (row.at, row.number))
    first = arrivals[0].at
    return [Arrival(row.at - first, row.number, row.prompt_tokens, row.output_tokens) for row in arrivals]


def _lengths(row: Arrival) -> tuple[int, int]:
    return row.prompt_tokens, row.output_tokens
