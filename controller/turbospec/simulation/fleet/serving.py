"""All engines of a fleet, macro step by macro step: one row of a few arrays for each decoding request."""

import math
from collections.abc import Sequence

import numpy as np

from turbospec.simulation.files import EngineFile
from turbospec.simulation.fleet.arrivals import Day, Ints
from turbospec.simulation.fleet.replica import Brain, Done, Replica, Requests
from turbospec.simulation.step_time import StepTime
from turbospec.simulation.text import Floats

MACRO_SECONDS = 1.0
"""Length of a macro step: short beside a request's life and the autoscaler's 15 s, 40 to 140 engine steps long."""
DRAWS = 1 << 16
_Drafts = tuple[list[list[float]], list[list[float]]]
"""By engine, the mean shares of its drafts that are accepted beyond each position, and that go on to it."""


class _Rows:
    """The decoding requests of all engines: ``columns`` are, one below the other, request, slot, cell, admission,
    prompt and output tokens; a cell is slot * kinds of text + kind. In the order in which they began to decode."""

    def __init__(self) -> None:
        self.columns: Ints = np.zeros((6, 0), dtype=np.int64)
        self.left: Floats = np.zeros(0)
        """Tokens until it ends, with what is lost beyond."""

    def keep(self, those: Ints) -> None:
        """Only these rows."""
        self.columns, self.left = self.columns.take(those, axis=1), self.left.take(those)

    def add(self, rows: Sequence[tuple[int, ...]], left: Sequence[float]) -> None:
        """These rows below the others."""
        self.columns = np.concatenate([self.columns, np.array(rows, dtype=np.int64).T], axis=1)
        self.left = np.concatenate([self.left, left])


class Serving:
    """Engines by slot. Requests are indices into the day; times of first and last tokens are NaN until then."""

    def __init__(self, spec: EngineFile, day: Day, seed: int, *, slots: int) -> None:
        """At most ``slots`` engines at a time."""
        self._spec = spec
        self._day = day
        self._step_times: dict[int, StepTime] = {}
        self._rng = np.random.default_rng((seed, 12))
        self._normal: list[float] = []
        self._requests = Requests(day.at.tolist(), day.prompt.tolist())
        self._output: list[int] = day.output.tolist()
        self._kind: list[int] = day.kind.tolist()
        # As lists: single elements of numpy arrays are slow to read.
        self._beyond: list[list[float]] = day.texts.beyond.tolist()
        self._tokens: list[list[float]] = day.texts.tokens.tolist()
        self._kinds = len(day.texts.tokens)
        self._variance = day.texts.deviation**2
        self._rows = _Rows()
        self._shares = np.zeros((slots, spec.max_draft_tokens + 1))
        self._shares[:, 0] = 1.0
        self._mixed: list[Sequence[int]] = [(0,)] * slots
        self._rate, self._spread = self._tables()
        self._admissions = 0
        self.replicas: dict[int, Replica] = {}
        self.first_token: Floats = np.full(len(day.at), np.nan)
        self.finished: Floats = np.full(len(day.at), np.nan)
        self.preemptions = 0

    def start(self, slot: int, brain: Brain, now: float, spec: EngineFile | None = None) -> Replica:
        """An engine that can serve from now on: of ``spec``, which may do without a drafter, where it is another."""
        spec = spec or self._spec
        # Specs are not hashable; those of a run live as long as it does.
        step_time = self._step_times.setdefault(id(spec), StepTime(spec))
        replica = Replica(slot, spec, step_time, brain, self._requests, clock=now)
        self.replicas[slot] = replica
        return replica

    def stop(self, slot: int) -> list[int]:
        """End an engine; the requests that it had begun or not, which have to begin again elsewhere."""
        replica, rows = self.replicas.pop(slot), self._rows
        request, slots = rows.columns[:2]
        there = slots == slot
        lost = [*request[there].tolist(), *(entry[0] for entry in replica.prefilling), *replica.waiting]
        rows.keep(np.flatnonzero(~there))
        self.first_token[lost] = np.nan
        return sorted(lost)

    def generated(self) -> tuple[Floats, Ints]:
        """Tokens that each decoding request has, and its slot."""
        rows = self._rows
        return np.maximum(rows.columns[5] - rows.left, 1.0), rows.columns[1]

    def tick(self, start: float, end: float) -> list[int]:
        """All engines until ``end``; the requests that got their last token."""
        drift = [entry for entry in self._spec.drift if entry.at <= start]
        for step_time in self._step_times.values():
            step_time.drift = drift[-1] if drift else None
        replicas = list(self.replicas.values())
        for replica in replicas:
            self._make_room(replica)
            replica.noise = self._noise(replica.steps)
            replica.advance(start, end)
        finished = self._join(replicas)
        return finished + self._progress(replicas)

    def _noise(self, steps: int) -> float:
        """Of the mean of so many steps, outliers at their mean."""
        noise = self._spec.noise
        if not self._normal:
            self._normal = self._rng.standard_normal(DRAWS).tolist()
        relative = noise.relative_standard_deviation / math.sqrt(max(steps, 1))
        return (1.0 + relative * self._normal.pop()) * (1.0 + noise.outlier_probability * (noise.outlier_factor - 1.0))

    def _make_room(self, replica: Replica) -> None:
        """Preempt, the one admitted last first, until every running request can grow by a full draft."""
        spare = replica.spec.kv_cache_tokens - replica.kv_tokens
        spare -= (replica.running + len(replica.prefilling)) * replica.lookahead
        # What ends soon makes room as the others grow.
        spare += replica.leaving_kv / 2.0
        while spare < 0.0 and (replica.prefilling or replica.running):
            self.preemptions += 1
            if replica.prefilling:
                request, _, needed = replica.prefilling.pop()
                replica.waiting.appendleft(request)
                spare += needed + replica.lookahead
                continue
            rows = self._rows
            there = np.flatnonzero(rows.columns[1] == replica.slot)
            i = int(there[rows.columns[3][there].argmax()])
            request = int(rows.columns[0, i])
            has = max(1, int(self._output[request] - rows.left[i]))
            replica.generated[request] = has
            replica.waiting.appendleft(request)
            rows.keep(np.delete(np.arange(len(rows.left)), i))
            held = self._requests.prompt[request] + has
            replica.running -= 1
            replica.kv_running -= held
            replica.leaving = min(replica.leaving, replica.running)
            spare += held + replica.lookahead

    def _join(self, replicas: Sequence[Replica]) -> list[int]:
        """First tokens, and rows, for the requests whose prefill has ended; returns those that need no more."""
        ended: list[int] = []
        rows: list[tuple[int, ...]] = []
        left: list[float] = []
        first, prompts, outputs, kinds = self.first_token, self._requests.prompt, self._output, self._kind
        for replica in replicas:
            if not replica.joined:
                continue
            k, slot = replica.draft_tokens[-1], replica.slot
            for (request, step), (_, when) in zip(replica.joined, replica.first_tokens, strict=True):
                if math.isnan(first[request]):
                    first[request] = when
                output = outputs[request]
                remain = output - (replica.generated.pop(request, 0) + 1)
                if remain <= 0:
                    self.finished[request] = when
                    ended.append(request)
                    continue
                kind = kinds[request]
                self._admissions += 1
                rows.append((request, slot, slot * self._kinds + kind, self._admissions, prompts[request], output))
                # It takes no part in the steps before its own.
                left.append(remain + (self._beyond[kind][k] + step * self._tokens[kind][k]))
        if rows:
            self._rows.add(rows, left)
        return ended

    def _tables(self) -> tuple[Floats, Floats]:
        """By cell, tokens that a request gets from a step, and their standard deviation."""
        texts = self._day.texts
        rate, variance = texts.tokens @ self._shares.T, self._variance @ self._shares.T
        return rate.T.ravel(), np.sqrt(variance).T.ravel()

    def _progress(self, replicas: Sequence[Replica]) -> list[int]:
        """Let all rows advance by their engines' steps; those that end do so at their place between the steps."""
        rows, slots = self._rows, len(self._shares)
        request, slot, cell = rows.columns[:3]
        steps, moved = [0.0] * slots, False
        for replica in replicas:
            i, ks = replica.slot, replica.draft_tokens
            steps[i] = replica.steps
            if self._mixed[i] != ks:
                self._mixed[i], share = ks, self._shares[i]
                moved = True
                share[:] = 0.0
                for k in ks:
                    share[k] += 1.0 / len(ks)
        if moved:
            self._rate, self._spread = self._tables()
        rate, spread = self._rate.take(cell), self._spread.take(cell)
        expected = np.array(steps)
        taken = expected.take(slot)
        gained = taken * rate
        if spread.any():
            gained += np.sqrt(taken) * spread * self._rng.standard_normal(len(gained))
            np.maximum(gained, taken, out=gained)
        # Those that end took part in what there is to learn from.
        drafts = self._by_slot(replicas)
        before, rows.left = rows.left, rows.left - gained
        done = rows.left <= 0.0
        ended: list[int] = []
        if done.any():
            those = np.flatnonzero(done)
            requests, share_taken = request.take(those), before.take(those) / gained.take(those)
            began, clock = np.zeros(slots), np.zeros(slots)
            for replica in replicas:
                began[replica.slot], clock[replica.slot] = replica.began, replica.clock
            at = slot.take(those)
            self.finished[requests] = began[at] + share_taken * (clock[at] - began[at])
            ended = requests.tolist()
            kept = np.flatnonzero(~done)
            rows.keep(kept)
            rate, taken = rate.take(kept), taken.take(kept)
        self._sum_up(replicas, rate, taken, drafts)
        return ended

    def _sum_up(self, replicas: Sequence[Replica], rate: Floats, taken: Floats, drafts: _Drafts) -> None:
        """What the engines need to know of their rows for the next macro step, which is taken to have as many steps."""
        rows, slots = self._rows, len(self._shares)
        _, slot, _, _, prompt, output = rows.columns
        held = prompt + np.maximum(output - rows.left, 1.0)
        running = np.bincount(slot, minlength=slots).tolist()
        kv = np.bincount(slot, held, slots).tolist()
        growth = np.bincount(slot, rate, slots).tolist()
        ending = np.flatnonzero(rows.left < rate * taken)
        slot, held = slot.take(ending), held.take(ending)
        leaving = np.bincount(slot, minlength=slots).tolist()
        leaving_kv = np.bincount(slot, held, slots).tolist()
        reach, longer = drafts
        for replica in replicas:
            i = replica.slot
            if replica.brain.learns and replica.steps and replica.running:
                replica.brain.learn(
                    Done(
                        replica.clock,
                        replica.draft_tokens,
                        replica.running,
                        int(replica.kv_running),
                        len(replica.waiting),
                        replica.steps,
                        replica.seconds,
                        replica.prefills,
                        reach[i],
                        longer[i],
                    )
                )
            replica.running, replica.kv_running = running[i], kv[i]
            replica.leaving, replica.leaving_kv = float(leaving[i]), leaving_kv[i]
            replica.growth = growth[i] / running[i] if running[i] else 1.0

    def _by_slot(self, replicas: Sequence[Replica]) -> _Drafts:
        """Mean acceptance and draft shares by position of each engine's requests."""
        if not any(replica.brain.learns for replica in replicas):
            return [], []
        texts, slots, kinds = self._day.texts, len(self._shares), self._kinds
        counts = np.bincount(self._rows.columns[2], minlength=slots * kinds).reshape(slots, kinds)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return (shares @ texts.reach).tolist(), (shares @ texts.longer).tolist()
