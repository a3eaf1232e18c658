"""All engines of a fleet, macro step by macro step: one row of a few arrays for each decoding request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbospec.simulation.files import EngineFile
from turbospec.simulation.fleet.arrivals import Day, Ints
from turbospec.simulation.fleet.replica import Brain, Done, Replica, Requests
from turbospec.simulation.step_time import StepTime
from turbospec.simulation.text import Floats

MACRO_SECONDS = 0.5
"""Length of a macro step: short beside a request's life and the autoscaler's 15 s, 20 to 70 engine steps long."""
DRAWS = 1 << 16
_Drafts = tuple[list[list[float]], list[list[float]]]
"""By engine, the mean shares of its drafts that are accepted beyond each position, and that go on to it."""


@dataclass
class _Rows:
    """The decoding requests of all engines."""

    request: Ints
    slot: Ints
    kind: Ints
    admission: Ints
    left: Floats
    """Tokens until it ends, with what is lost beyond."""

    def keep(self, mask: NDArray[np.bool_]) -> None:
        self.request, self.slot, self.kind = self.request[mask], self.slot[mask], self.kind[mask]
        self.admission, self.left = self.admission[mask], self.left[mask]

    def add(self, rows: Sequence[tuple[int, int, int, int, float]]) -> None:
        columns = list(zip(*rows, strict=True))
        self.request = np.concatenate([self.request, np.array(columns[0], dtype=np.int64)])
        self.slot = np.concatenate([self.slot, np.array(columns[1], dtype=np.int64)])
        self.kind = np.concatenate([self.kind, np.array(columns[2], dtype=np.int64)])
        self.admission = np.concatenate([self.admission, np.array(columns[3], dtype=np.int64)])
        self.left = np.concatenate([self.left, np.array(columns[4])])


class Serving:
    """Engines by slot. Requests are indices into the day; times of first and last tokens are NaN until then."""

    def __init__(self, spec: EngineFile, day: Day, seed: int, *, slots: int) -> None:
        """At most ``slots`` engines at a time."""
        self._spec = spec
        self._day = day
        self._step_time = StepTime(spec)
        self._rng = np.random.default_rng((seed, 12))
        self._normal: list[float] = []
        self._requests = Requests(day.at.tolist(), day.prompt.tolist())
        self._output: list[int] = day.output.tolist()
        self._kind: list[int] = day.kind.tolist()
        none = np.zeros(0, dtype=np.int64)
        self._rows = _Rows(none, none, none, none, np.zeros(0))
        self._shares = np.zeros((slots, spec.max_draft_tokens + 1))
        self._shares[:, 0] = 1.0
        self._mixed: list[Sequence[int]] = [(0,)] * slots
        self._admissions = 0
        self.replicas: dict[int, Replica] = {}
        self.first_token: Floats = np.full(len(day.at), np.nan)
        self.finished: Floats = np.full(len(day.at), np.nan)
        self.preemptions = 0

    def start(self, slot: int, brain: Brain, now: float) -> Replica:
        """An engine that can serve from now on."""
        replica = Replica(slot, self._spec, self._step_time, brain, self._requests, clock=now)
        self.replicas[slot] = replica
        return replica

    def stop(self, slot: int) -> list[int]:
        """End an engine; the requests that it had begun or not, which have to begin again elsewhere."""
        replica, rows = self.replicas.pop(slot), self._rows
        there = rows.slot == slot
        lost = [*rows.request[there].tolist(), *(entry[0] for entry in replica.prefilling), *replica.waiting]
        rows.keep(~there)
        self.first_token[lost] = np.nan
        return sorted(lost)

    def generated(self) -> tuple[Floats, Ints]:
        """Tokens that each decoding request has, and its slot."""
        rows = self._rows
        return np.maximum(self._day.output[rows.request] - rows.left, 1.0), rows.slot

    def tick(self, start: float, end: float) -> list[int]:
        """All engines until ``end``; the requests that got their last token."""
        drift = [entry for entry in self._spec.drift if entry.at <= start]
        self._step_time.drift = drift[-1] if drift else None
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
        spare = self._spec.kv_cache_tokens - replica.kv_tokens
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
            there = np.flatnonzero(rows.slot == replica.slot)
            i = int(there[rows.admission[there].argmax()])
            request = int(rows.request[i])
            has = max(1, int(self._output[request] - rows.left[i]))
            replica.generated[request] = has
            replica.waiting.appendleft(request)
            kept = np.ones(len(rows.slot), dtype=np.bool_)
            kept[i] = False
            rows.keep(kept)
            held = self._requests.prompt[request] + has
            replica.running -= 1
            replica.kv_running -= held
            replica.leaving = min(replica.leaving, replica.running)
            spare += held + replica.lookahead

    def _join(self, replicas: Sequence[Replica]) -> list[int]:
        """First tokens, and rows, for the requests whose prefill has ended; returns those that need no more."""
        ended, rows = [], []
        beyond, tokens = self._day.texts.beyond, self._day.texts.tokens
        for replica in replicas:
            if not replica.joined:
                continue
            for request, when in replica.first_tokens:
                if np.isnan(self.first_token[request]):
                    self.first_token[request] = when
            k = replica.draft_tokens[-1]
            for (request, step), (_, when) in zip(replica.joined, replica.first_tokens, strict=True):
                has = replica.generated.pop(request, 0) + 1
                left = self._output[request] - has
                if left <= 0:
                    self.finished[request] = when
                    ended.append(request)
                    continue
                kind = self._kind[request]
                # It takes no part in the steps before its own.
                extra = float(beyond[kind, k] + step * tokens[kind, k])
                self._admissions += 1
                rows.append((request, replica.slot, kind, self._admissions, left + extra))
        if rows:
            self._rows.add(rows)
        return ended

    def _progress(self, replicas: Sequence[Replica]) -> list[int]:
        """Let all rows advance by their engines' steps; those that end do so at their place between the steps."""
        rows, texts, slots = self._rows, self._day.texts, len(self._shares)
        steps, began, clock = np.zeros(slots), np.zeros(slots), np.zeros(slots)
        for replica in replicas:
            i, ks = replica.slot, replica.draft_tokens
            steps[i], began[i], clock[i] = replica.steps, replica.began, replica.clock
            if self._mixed[i] != ks:
                self._mixed[i], share = ks, self._shares[i]
                share[:] = 0.0
                for k in ks:
                    share[k] += 1.0 / len(ks)
        rate = (texts.tokens @ self._shares.T)[rows.kind, rows.slot]
        spread = np.sqrt(texts.deviation**2 @ self._shares.T)[rows.kind, rows.slot]
        taken = steps[rows.slot]
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
            slot = rows.slot[done]
            share_taken = before[done] / gained[done]
            requests = rows.request[done]
            self.finished[requests] = began[slot] + share_taken * (clock[slot] - began[slot])
            ended = requests.tolist()
            rows.keep(~done)
            rate = rate[~done]
        self._sum_up(replicas, rate, drafts)
        return ended

    def _sum_up(self, replicas: Sequence[Replica], rate: Floats, drafts: _Drafts) -> None:
        """What the engines need to know of their rows for the next macro step."""
        rows, slots = self._rows, len(self._shares)
        held = self._day.prompt[rows.request] + np.maximum(self._day.output[rows.request] - rows.left, 1.0)
        running = np.bincount(rows.slot, minlength=slots)
        kv = np.bincount(rows.slot, held, slots)
        growth = np.bincount(rows.slot, rate, slots)
        expected = np.zeros(slots)
        for replica in replicas:
            expected[replica.slot] = replica.steps
        ending = rows.left < rate * expected[rows.slot]
        leaving = np.bincount(rows.slot[ending], minlength=slots)
        leaving_kv = np.bincount(rows.slot[ending], held[ending], slots)
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
            replica.running, replica.kv_running = int(running[i]), float(kv[i])
            replica.leaving, replica.leaving_kv = float(leaving[i]), float(leaving_kv[i])
            replica.growth = float(growth[i] / running[i]) if running[i] else 1.0

    def _by_slot(self, replicas: Sequence[Replica]) -> _Drafts:
        """Mean acceptance and draft shares by position of each engine's requests."""
        if not any(replica.brain.learns for replica in replicas):
            return [], []
        rows, texts, slots = self._rows, self._day.texts, len(self._shares)
        kinds = len(texts.tokens)
        counts = np.bincount(rows.slot * kinds + rows.kind, minlength=slots * kinds).reshape(slots, kinds)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return (shares @ texts.reach).tolist(), (shares @ texts.longer).tolist()
