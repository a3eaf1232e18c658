"""How long a step of the simulated engine really takes. Shares nothing with the controller's latency model."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from turbospec.simulation.files import (
    DEFAULT_PREFILL_TOKENS_PER_SECOND,
    DriftSpec,
    EngineFile,
    LinearStepTime,
    StepTable,
)

LEAST_SHARE = 0.1
"""Extrapolation of a table never falls below this share of its smallest time."""


class Work(NamedTuple):
    """What one step does. (A tuple, because a day of a fleet makes millions of them.)

    ``asked`` is K; ``drafted`` the draft tokens verified, all requests together; ``passes`` the draft passes that
    proposed them (positions at which any request got a token).
    """

    decodes: int
    asked: int
    drafted: float
    passes: int
    kv_tokens: float
    prefill_tokens: int


class StepTime:
    """Seconds of a step without noise. ``drift`` is the entry in force; None means as profiled."""

    def __init__(self, engine: EngineFile) -> None:
        self._most = engine.max_draft_tokens
        self._always = engine.draft_always
        self._sizes = engine.graph.padded_to if engine.graph else []
        self._eager = engine.graph.eager_factor if engine.graph else 1.0
        spec = engine.step_time
        rate = engine.prefill_tokens_per_second or DEFAULT_PREFILL_TOKENS_PER_SECOND
        self._parts: _Linear | _Table = _Linear(spec.linear) if spec.linear else _Table(_given(spec.table), rate)
        self.drift: DriftSpec | None = None

    def seconds(self, work: Work, proposing: Work | None = None) -> float:
        """Duration of the step, in seconds.

        ``proposing``: the work whose drafts are proposed in this step, where it is not that whose drafts are verified
        (model runner V1 proposes for the step after).
        """
        if self.drift is None and proposing is None and not self._sizes and not self._always:
            # Nothing is padded: the usual case, and the one that simulated fleets spend their time in.
            fixed, per_token, drafting = self._parts.split(work, 1.0, work.drafted, work.passes)
            return fixed + per_token + drafting
        fixed, per_token, drafting, eager = self._split(work)
        if proposing is not None:
            drafting = self._split(proposing)[2]
        drift = self.drift
        if drift is None:
            return (fixed + per_token + drafting) * eager
        total = fixed + per_token * drift.per_token_factor + drafting * drift.draft_factor
        return total * eager * drift.factor

    def _split(self, work: Work) -> tuple[float, float, float, float]:
        """Fixed, per-token and drafting seconds, and what eager execution multiplies them by."""
        decodes, drafted, passes = work.decodes, work.drafted, work.passes
        proposed = drafted
        if self._always and work.asked and decodes:
            proposed, passes = float(decodes * self._most), self._most
        tokens = decodes + drafted + work.prefill_tokens
        padded, eager = self._pad(tokens)
        return *self._parts.split(work, padded / tokens if tokens else 1.0, proposed, passes), eager

    def _pad(self, tokens: float) -> tuple[float, float]:
        sizes = self._sizes
        if not sizes:
            return tokens, 1.0
        if tokens > sizes[-1] or (self.drift is not None and self.drift.graphs_lost):
            return tokens, self._eager
        return float(sizes[bisect_left(sizes, tokens)]), 1.0


class _Linear:
    def __init__(self, spec: LinearStepTime) -> None:
        self._fixed = spec.seconds_per_step + spec.overhead_seconds
        self._per_token = spec.seconds_per_batched_token
        self._per_kv = spec.seconds_per_kv_token
        self._draft_kv = spec.draft_seconds_per_kv_token
        self._draft_token = spec.draft_seconds_per_token
        self._draft_pass = spec.draft_seconds_per_pass

    def split(self, work: Work, padding: float, proposed: float, passes: int) -> tuple[float, float, float]:
        """Fixed, per-token and drafting seconds. A draft pass reads the KV cache of the requests that still draft."""
        decodes, kv = work.decodes, work.kv_tokens
        batched = (decodes + work.drafted + work.prefill_tokens) * padding
        drafting = 0.0
        if passes:
            reading = self._draft_kv * kv / decodes + self._draft_token
            drafting = self._draft_pass * passes + reading * proposed
        return self._fixed + self._per_kv * kv, self._per_token * batched, drafting


class _Table:
    """Bilinear within the table, the border cells' slopes beyond it.

    T(1, 0) is the fixed part, T(1, K) - T(1, 0) the drafting, and T(B, K) - T(1, K) what tokens cost: so a table drifts
    as linear step times do.
    """

    def __init__(self, table: StepTable, prefill_tokens_per_second: float) -> None:
        self._batches = [float(b) for b in table.batch]
        self._widths = [float(k) for k in table.draft_tokens]
        self._rows = [[cell / 1e3 for cell in row] for row in table.milliseconds]
        self._least = LEAST_SHARE * min(min(row) for row in self._rows)
        self._prefill = 1.0 / prefill_tokens_per_second

    def split(self, work: Work, padding: float, proposed: float, passes: int) -> tuple[float, float, float]:
        """Fixed, per-token and drafting seconds; a padded step costs what the larger batch would cost."""
        decodes = work.decodes
        width = proposed / decodes if decodes and passes else 0.0
        batch = decodes * padding if not work.prefill_tokens else float(decodes)
        fixed = self._at(1.0, 0.0)
        drafting = self._at(1.0, width) - fixed
        tokens = self._at(batch, width) - fixed - drafting + self._prefill * work.prefill_tokens
        return fixed, tokens, drafting

    def _at(self, batch: float, width: float) -> float:
        rows, i = self._rows, _segment(self._batches, batch)
        j = _segment(self._widths, width)
        if len(self._widths) > 1:
            left, right = self._widths[j], self._widths[j + 1]
            share = (width - left) / (right - left)
            low = rows[i][j] + share * (rows[i][j + 1] - rows[i][j])
        else:
            share, low = 0.0, rows[i][0]
        if len(self._batches) == 1:
            return max(low, self._least)
        high = rows[i + 1][j] + share * (rows[i + 1][j + 1] - rows[i + 1][j]) if share else rows[i + 1][j]
        below, above = self._batches[i], self._batches[i + 1]
        return max(low + (batch - below) / (above - below) * (high - low), self._least)


def _segment(axis: list[float], value: float) -> int:
    """Index of the segment of ``axis`` that is used at ``value``: the first or last one beyond its ends."""
    return max(0, min(bisect_right(axis, value) - 1, len(axis) - 2))


def _given(table: StepTable | None) -> StepTable:
    if table is None:
        raise ValueError("an engine file has either linear or table step times")
    return table
